"""The spool file: order, a disk that is full, and when the file is deleted."""

import resource
from dataclasses import replace
from pathlib import Path

from gateway.contract import Admitted
from gateway.settlement_spool import Settlement, SettlementSpool, take_over

ADMITTED = Admitted("0199aaaa-0000-7000-8000-000000000000", 1.5, "own", "o", "o", "d", "r", "k", "u", "m", False)


def build_settlement(attempt: int, model: str = "m") -> Settlement:
    return Settlement(replace(ADMITTED, attempt=attempt, model=model), None)


def read(folder: Path) -> list[Settlement]:
    return [Settlement.from_line(line) for line in (folder / "own.jsonl").read_text().splitlines()]


async def test_settlements_are_written_in_order_and_those_that_come_during_a_write_follow(tmp_path: Path):
    spool = SettlementSpool(tmp_path / "spool", "own")
    settlements = [build_settlement(number) for number in range(50)]
    for settlement in settlements:
        spool.append(settlement)
    await spool.flush()
    assert read(tmp_path / "spool") == settlements
    spool.remove_first(49)
    assert spool.list_pending() == settlements[49:]
    spool.append(build_settlement(50))
    await spool.flush()
    assert read(tmp_path / "spool") == [*settlements, build_settlement(50)]
    spool.remove_first(2)
    await spool.flush()
    assert list((tmp_path / "spool").iterdir()) == []
    spool.append(build_settlement(51))
    await spool.flush()
    assert read(tmp_path / "spool") == [build_settlement(51)]


async def test_settlements_that_do_not_fit_on_the_disk_stay_in_memory_and_are_written_later(tmp_path: Path):
    spool = SettlementSpool(tmp_path, "own")
    first, large, last = build_settlement(1), build_settlement(2, model="m" * 2_000_000), build_settlement(3)
    spool.append(first)
    await spool.flush()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))  # the write ends in the middle of the line
    try:
        spool.append(large)
        await spool.flush()
        spool.append(last)
        await spool.flush()
        assert (tmp_path / "own.jsonl").stat().st_size == 1_000_000
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert spool.list_pending() == [first, large, last]
    await spool.flush()
    assert read(tmp_path) == [first, large, last]


async def test_a_folder_that_cannot_be_created_loses_no_settlement(tmp_path: Path):
    folder = tmp_path / "spool"
    folder.write_text("a file where the folder should be")
    spool = SettlementSpool(folder, "own")
    spool.append(build_settlement(1))
    await spool.flush()
    folder.unlink()
    await spool.flush()
    assert read(folder) == [build_settlement(1)]


async def test_the_file_of_a_running_process_is_not_taken_over(tmp_path: Path):
    spool = SettlementSpool(tmp_path, "own")
    spool.append(build_settlement(1))
    await spool.flush()
    async with take_over(tmp_path / "own.jsonl") as settlements:
        assert settlements == []
    assert read(tmp_path) == [build_settlement(1)]
