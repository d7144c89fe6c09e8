"""What only real processes can show: kills, suspensions, races, leftovers."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.drivers.base import DriverError, Launch, ReplicaSpec
from deployments.drivers.local import installation, launch, processes
from deployments.drivers.local.driver import LocalDriver
from deployments.drivers.local.replica_folder import Folder, Intent
from deployments.states import ReplicaState
from tests.contract.driver_worlds import GPUS, INSTALLATION, LocalWorld, ended, ready, spec

CHILD = "import os, signal; os.setsid(); signal.pause()"
HOSTILE = """
import sys, time
out = sys.stdout.buffer
out.write(b"\\x1b[31mred\\x1b[0m <b>\\nnul\\x00 and \\xff\\xfe\\n\\n" + b"x" * 2**20 + b"\\n"); out.flush()
time.sleep(0.3)
out.write(b"end")
"""
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"


def program(name: str, code: str) -> ReplicaSpec:
    """A replica whose engine is a few lines of Python."""
    return replace(spec(name), launch=Launch((sys.executable, "-c", code), "/health", "/metrics"))


def gone(world: LocalWorld, wanted: ReplicaSpec) -> None:
    world.until(lambda: True if not list(processes.find_by_replica(wanted.replica_id)) else None, "without processes")


def said(world: LocalWorld, name: str, text: str) -> None:
    def look() -> bool | None:
        return any(line.text == text for line in world.driver.logs(name, follow=False, tail=50)) or None

    world.until(look, f"saying {text!r}")


def notes(world: LocalWorld, name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (world.folder / name / "shim.log").read_text().splitlines()]


def test_a_killed_supervisor_takes_the_engine_along(local: LocalWorld) -> None:
    local.driver.start(wanted := spec("a"))
    ready(local, "a")
    engine = local.engine("a")
    local.kill_supervisor("a")
    local.until(lambda: None if engine.is_alive else True, "without engine")
    ended(local, "a")
    gone(local, wanted)
    assert notes(local, "a")[-1]["what"] == "lost"


@pytest.mark.parametrize("kill", [LocalWorld.kill_engine, LocalWorld.kill_supervisor])
def test_children_that_left_the_engines_session_do_not_outlive_it(
    local: LocalWorld, kill: Callable[[LocalWorld, str], None]
) -> None:
    code = f"import signal, subprocess, sys; subprocess.Popen([sys.executable, '-c', {CHILD!r}]); signal.pause()"
    local.driver.start(wanted := program("a", code))
    local.until(lambda: True if len(list(processes.find_by_replica(wanted.replica_id))) == 2 else None, "two processes")
    kill(local, "a")
    ended(local, "a")
    gone(local, wanted)


def test_concurrent_starts_make_one_shim(local: LocalWorld) -> None:
    wanted = spec("a")
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda driver: driver.start(wanted), [local.again() for _ in range(6)]))
    ready(local, "a")
    assert [note["what"] for note in notes(local, "a")].count("started") == 1
    assert len(list(processes.find_by_replica(wanted.replica_id))) == 1


def test_concurrent_starts_of_many_share_no_gpu_and_no_port(local: LocalWorld) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: local.again().start(spec(name)), "abcd"))
    seen = local.driver.observe().replicas
    assert sorted(index for replica in seen for index in replica.gpu_indices) == [2, 3, 4, 5]
    assert len({replica.address for replica in seen}) == 4


def test_an_intent_whose_writer_was_killed_is_carried_out_by_whoever_looks(local: LocalWorld) -> None:
    intent = promised(local, spec("a"), asked_at="2026-01-01T00:00:00+00:00")
    seen = ready(local, "a")
    assert seen.stamps[ReplicaState.REQUESTING_GPU].isoformat() == intent.asked_at


def test_an_intent_without_a_shim_can_be_stopped_and_never_starts(local: LocalWorld) -> None:
    promised(local, wanted := spec("a"), asked_at="2999-01-01T00:00:00+00:00")
    local.driver.stop("a", 5)
    end = ended(local, "a")
    assert end.exited is not None
    assert end.exited.code is None
    local.driver.start(wanted)
    assert list(processes.find_by_replica(wanted.replica_id)) == []
    assert not (local.folder / "a" / "shim.log").exists()


def test_what_was_forgotten_leaves_its_accounts_and_never_starts_again(local: LocalWorld) -> None:
    local.driver.start(wanted := spec("a"))
    ready(local, "a")
    local.driver.stop("a", 5)
    ended(local, "a")
    local.driver.forget("a")
    assert notes(local, "a")[-1]["what"] == "exited"
    assert (local.folder / "a" / "requests.jsonl").exists()
    with pytest.raises(DriverError) as refused:
        local.driver.start(wanted)
    assert not refused.value.retryable
    assert list(processes.find_by_replica(wanted.replica_id)) == []


def promised(world: LocalWorld, wanted: ReplicaSpec, asked_at: str) -> Intent:
    """What a driver leaves behind that was killed between its intent and the start of the shim."""
    folder = Folder(world.folder / wanted.name)
    folder.path.mkdir(parents=True)
    environment = launch.build_environment(os.environ, world.folder, INSTALLATION)
    intent = launch.build_intent(wanted, INSTALLATION, (0,), launch.find_free_port(()), environment, simulated=True)
    intent = replace(intent, asked_at=asked_at)
    folder.write("intent.json", intent)
    return intent


def test_a_suspended_supervisor_is_ended_when_the_grace_is_over(local: LocalWorld) -> None:
    local.driver.start(wanted := spec("a"))
    ready(local, "a")
    os.kill(local.shim("a").pid, signal.SIGSTOP)
    local.driver.stop("a", 0.1)
    ended(local, "a")
    gone(local, wanted)


def test_an_engine_that_ignores_the_request_is_killed_after_the_grace(local: LocalWorld) -> None:
    local.driver.start(wanted := program("a", STUBBORN))
    said(local, "a", "up")
    local.driver.stop("a", 0.2)
    exited = ended(local, "a").exited
    assert exited is not None
    assert exited.code == -9
    assert [note["what"] for note in notes(local, "a")][-4:] == ["asked to stop", "terminate", "kill", "exited"]
    gone(local, wanted)


def test_a_bare_sigterm_to_the_supervisor_ends_the_replica(local: LocalWorld) -> None:
    local.driver.start(spec("a"))
    ready(local, "a")
    os.kill(local.shim("a").pid, signal.SIGTERM)
    exited = ended(local, "a").exited
    assert exited is not None
    assert exited.code == 0


def test_a_zombie_counts_as_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = processes.find(child.pid)
    assert process is not None
    assert process.is_alive
    assert child.stdin is not None
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not process.is_alive
    child.wait()


def test_a_pid_that_went_to_somebody_else_is_not_the_same_process() -> None:
    me = processes.find(os.getpid())
    assert me is not None
    assert me.is_alive
    assert not processes.Process(me.pid, me.started - 1).is_alive


def test_a_missing_program_is_said_by_its_exit_code(local: LocalWorld) -> None:
    local.driver.start(replace(spec("a"), launch=Launch(("no-such-engine",), "/health", "/metrics")))
    end = ended(local, "a")
    assert end.exited is not None
    assert (end.exited.code, end.log_tail) == (127, "no-such-engine: No such file or directory")


def test_whatever_an_engine_writes_becomes_lines_with_the_time_of_their_arrival(local: LocalWorld) -> None:
    local.driver.start(program("a", HOSTILE))
    ended(local, "a")
    lines = list(local.driver.logs("a", follow=False, tail=1000))
    assert [line.text for line in lines[:3]] == ["\x1b[31mred\x1b[0m <b>", "nul\x00 and \ufffd\ufffd", ""]
    assert (lines[-1].text, sum(len(line.text) for line in lines[3:-1])) == ("end", 2**20)
    times = [line.at for line in lines if line.at]
    assert (times, len(times)) == (sorted(times), len(lines))
    assert (times[-1] - times[0]).total_seconds() >= 0.2
    after = list(local.driver.logs("a", follow=False, tail=1000, since=times[-1]))
    assert after == [line for line in lines if line.at == times[-1]]


def test_only_the_engine_has_the_replicas_id_and_nobody_the_consoles_secrets(
    local: LocalWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSOLE_SECRET_KEY", "secret")
    LocalDriver(local.folder, GPUS, INSTALLATION).start(wanted := spec("a"))
    ready(local, "a")
    engine, shim = (
        dict(part.split("=", 1) for part in Path(f"/proc/{pid}/environ").read_text().split("\0") if part)
        for pid in (local.engine("a").pid, local.shim("a").pid)
    )
    assert engine["CONSOLE_REPLICA_ID"] == wanted.replica_id
    assert engine["CONSOLE_REPLICA_DIR"] == str(local.folder / "a")
    assert "CONSOLE_REPLICA_ID" not in shim
    assert {environment["CONSOLE_INSTALLATION_ID"] for environment in (engine, shim)} == {INSTALLATION}
    assert {environment["CONSOLE_DATA_DIR"] for environment in (engine, shim)} == {os.environ["CONSOLE_DATA_DIR"]}
    assert not {"CONSOLE_SECRET_KEY", "DATABASE_URL", "REDIS_URL"} & (engine.keys() | shim.keys())


def test_the_supervisor_has_a_session_of_its_own(local: LocalWorld) -> None:
    local.driver.start(spec("a"))
    shim = local.shim("a")
    assert os.getsid(shim.pid) == shim.pid != os.getsid(0)


def test_what_cannot_be_read_makes_the_listing_incomplete(local: LocalWorld) -> None:
    local.driver.start(spec("a"))
    broken = local.folder / "b"
    broken.mkdir()
    (broken / "intent.json").write_text("{")
    seen = local.driver.observe()
    assert ([replica.name for replica in seen.replicas], seen.complete) == (["a"], False)
    with pytest.raises(DriverError):
        local.driver.find("b")
    with pytest.raises(DriverError):
        local.driver.start(spec("c"))
    (broken / "intent.json").unlink()


def test_watching_tells_of_phases_and_of_the_end_but_not_of_heartbeats(local: LocalWorld) -> None:
    wakeups = local.driver.watch()
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(next, wakeups)
        while not told.done():
            local.driver.start(spec("a"))
        assert told.result().deployment_id == "deployment-of-a"
        ready(local, "a")
        quiet = pool.submit(lambda: [next(wakeups) for _ in range(1)][-1])
        local.kill_supervisor("a")
        assert quiet.result(timeout=10).deployment_id == "deployment-of-a"


def test_an_unwritable_folder_is_said_by_the_check(tmp_path: Path) -> None:
    (tmp_path / "clusters").write_text("a file where a folder should be")
    with pytest.raises(DriverError) as refused:
        LocalDriver(tmp_path / "clusters" / "local", GPUS, INSTALLATION).check()
    assert str(tmp_path) in str(refused.value)


CALLS: dict[str, Callable[[LocalDriver], object]] = {
    "observe": lambda driver: driver.observe(),
    "find": lambda driver: driver.find("a"),
    "watch": lambda driver: next(driver.watch()),
    "start": lambda driver: driver.start(spec("a")),
    "stop": lambda driver: driver.stop("a", 1),
    "forget": lambda driver: driver.forget("a"),
    "logs": lambda driver: driver.logs("a", follow=False, tail=1),
    "check": lambda driver: driver.check(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("prepare", "problem"),
    [
        pytest.param(lambda folder: None, "is missing", id="missing"),
        pytest.param(
            lambda folder: folder.mkdir(parents=True), "belongs to no installation", id="an empty mount point"
        ),
        pytest.param(
            lambda folder: installation.write(folder, "other"), "to another installation, other", id="foreign"
        ),
    ],
)
def test_a_folder_that_is_not_ours_is_out_of_reach_and_stays_as_it_is(
    tmp_path: Path, prepare: Callable[[Path], None], problem: str, call: Callable[[LocalDriver], object]
) -> None:
    folder = tmp_path / "clusters" / "local"
    prepare(folder)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DriverError) as refused:
        call(LocalDriver(folder, GPUS, INSTALLATION))
    assert problem in str(refused.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_another_installation_left_in_the_folder_is_left_alone_and_keeps_its_gpus(local: LocalWorld) -> None:
    local.driver.start(spec("a", gpu_type="h100-sxm-80gb", gpu_count=2))
    ready(local, "a")
    installation.write(local.folder, "adopted")
    driver = LocalDriver(local.folder, GPUS, "adopted")
    driver.stop("a", 0)
    assert (driver.observe().replicas, local.shim("a").is_alive) == ((), True)
    with pytest.raises(DriverError):
        driver.start(spec("b", gpu_type="h100-sxm-80gb"))
    local.kill_supervisor("a")
    local.until(lambda: None if local.shim("a").is_alive else True, "dead")
    driver.start(spec("b", gpu_type="h100-sxm-80gb"))


def test_files_that_cannot_be_used_are_the_clusters_trouble_and_may_pass(local: LocalWorld) -> None:
    wanted = spec("a")
    damaged = local.folder / "a" / "intent.json"
    damaged.mkdir(parents=True)  # a folder where a file should be
    for ask in (lambda: local.driver.start(wanted), lambda: local.driver.forget("a")):
        with pytest.raises(DriverError) as refused:
            ask()
        assert refused.value.retryable
    damaged.rmdir()


def test_what_a_replica_is_started_with_is_for_its_owner_only(local: LocalWorld) -> None:
    local.driver.start(spec("a"))
    assert (local.folder / "a" / "intent.json").stat().st_mode & 0o077 == 0
