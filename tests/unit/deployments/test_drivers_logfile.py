"""The log of a replica: bounded, with times, read from the end."""

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deployments.drivers.local import logfile
from deployments.drivers.local.logfile import LogWriter

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def texts(path: Path, count: int = 1000) -> list[str]:
    return [logfile.split(line)[1] for line in logfile.read_last(path, count)]


def test_every_line_gets_its_time(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log", lambda: NOON)
    writer.write(b"loading\r")
    assert [logfile.split(line) for line in logfile.read_last(tmp_path / "log", 5)] == [(NOON, "loading")]


def test_output_comes_in_pieces_and_becomes_lines(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log", lambda: NOON)
    assert [writer.feed(data) for data in (b"a", b"b\nc\nd", b"")] == [[], [b"ab", b"c"], []]
    assert (writer.flush(), writer.flush()) == ([b"d"], [])


def test_a_line_without_an_end_is_cut(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log", lambda: NOON)
    assert [len(line) for line in writer.feed(b"x" * (logfile.MAX_LINE_BYTES + 1))] == [logfile.MAX_LINE_BYTES + 1]


def test_a_full_file_makes_room_and_its_lines_are_still_read(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log", lambda: NOON, max_bytes=400)
    for number in range(15):
        writer.write(f"line {number}".encode())
    kept = texts(tmp_path / "log")
    assert kept[-1] == "line 14"
    assert kept == [f"line {number}" for number in range(15 - len(kept), 15)]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1000
    assert texts(tmp_path / "log", 2) == ["line 13", "line 14"]


def test_following_goes_on_into_the_next_file(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log", lambda: NOON, max_bytes=60)
    writer.write(b"one")
    rounds = iter([False, False, True])

    def has_ended() -> bool:
        writer.write(b"more and more and more and more")
        return next(rounds)

    lines = [logfile.split(line)[1] for line in logfile.follow(tmp_path / "log", 10, has_ended)]
    assert lines == ["one", *["more and more and more and more"] * 3]


def test_a_line_that_is_being_written_is_left_for_later(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("2026-01-01T12:00:00+00:00 whole\n2026-01-01T12:00:00+00:00 ha")
    assert texts(tmp_path / "log") == ["whole"]


def test_a_log_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert logfile.read_last(tmp_path / "log", 5) == []


def at(second: int) -> datetime:
    return NOON + timedelta(seconds=second)


def test_the_end_of_a_long_log_is_read_backwards(tmp_path: Path) -> None:
    seconds = itertools.count()
    writer = LogWriter(tmp_path / "log", lambda: at(next(seconds)))
    for number in range(3000):
        writer.write(b"x" * (number % 97) + f" {number}".encode())
    every = texts(tmp_path / "log", 5000)
    assert [line.split()[-1] for line in every] == [str(number) for number in range(3000)]
    assert texts(tmp_path / "log", 7) == every[-7:]


def test_lines_before_a_time_are_left_out(tmp_path: Path) -> None:
    seconds = iter([0, 0, 1, 1, 2])
    writer = LogWriter(tmp_path / "log", lambda: at(next(seconds)))
    for text in (b"a", b"b", b"c", b"d"):
        writer.write(text)
    since = [logfile.split(line)[1] for line in logfile.read_last(tmp_path / "log", 10, at(1))]
    assert since == ["b", "c", "d"]


def test_times_never_go_back_within_a_log(tmp_path: Path) -> None:
    clock = iter([at(0), at(5), at(-3600), at(6)])
    writer = LogWriter(tmp_path / "log", lambda: next(clock))
    for text in (b"a", b"b", b"c"):
        writer.write(text)
    assert [logfile.split(line) for line in logfile.read_last(tmp_path / "log", 5)] == [
        (at(5), "a"), (at(5), "b"), (at(6), "c"),
    ]  # fmt: skip


def test_a_megabyte_without_a_line_end_becomes_lines_of_bearable_length(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log", lambda: NOON)
    data = b"\xff\x00<b>" * (2**20 // 5)
    for start in range(0, len(data), 65536):
        for line in writer.feed(data[start : start + 65536]):
            writer.write(line)
    for line in writer.flush():
        writer.write(line)
    found = texts(tmp_path / "log")
    assert "".join(found) == data.decode(errors="replace")
    assert max(len(line) for line in found) <= 80 * 1024
