"""Real child processes: restart, stop, and death with the parent."""

import asyncio
import io
import os
import signal
import subprocess
import sys

import pytest

from console.machine.output import Output
from console.machine.program import Program, ServerFailed, start
from console.machine.supervisor import Child
from tests.e2e.stack import until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
SLEEPS = (sys.executable, "-c", "print('here', flush=True); import time; time.sleep(600)")
DEAF = (sys.executable, "-c", "import signal,time; signal.signal(15, 1); print('deaf', flush=True); time.sleep(600)")


def child(command: tuple[str, ...], changes: list[int] | None = None) -> tuple[Child, io.StringIO]:
    stream, seen = io.StringIO(), changes if changes is not None else []
    one = Child(Program("web", command, lambda: True), Output(stream), lambda: seen.append(1))
    return one, stream


async def eventually(condition, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - another process has no event to wait for
            await asyncio.sleep(0.02)


async def test_a_child_that_dies_is_started_again_and_whoever_asked_is_told():
    changes: list[int] = []
    one, stream = child(SLEEPS, changes)
    await one.start()
    await eventually(lambda: "here" in stream.getvalue())
    first = one.pid
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: one.pid not in {first, None})
    assert one.restarts == 1
    assert len(changes) == 2
    await eventually(lambda: stream.getvalue().count("web      │ here") == 2)
    assert "web was ended by SIGKILL" in stream.getvalue()
    await one.stop(grace_seconds=5)
    assert one.pid is None


async def test_a_child_that_does_not_listen_is_killed_after_its_grace():
    one, stream = child(DEAF)
    await one.start()
    await eventually(lambda: "deaf" in stream.getvalue())
    pid = one.pid
    await one.stop(grace_seconds=0.2)
    assert one.pid is None
    assert _gone(pid)


async def test_a_stopped_child_stays_stopped_even_while_it_waits_to_be_started_again():
    one, stream = child((sys.executable, "-c", "raise SystemExit(3)"))
    await one.start()
    await eventually(lambda: "ended with exit code 3" in stream.getvalue())
    await one.stop(grace_seconds=1)
    restarts = one.restarts
    assert one._keeper
    await eventually(one._keeper.done)
    assert one.restarts == restarts
    assert one.pid is None


async def test_a_child_that_never_answers_is_one_line():
    stream = io.StringIO()
    one = Child(Program("web", SLEEPS, lambda: False), Output(stream), lambda: None)
    await one.start()
    with pytest.raises(ServerFailed, match="web did not start"):
        await one.ready(0.3)
    await one.stop(grace_seconds=2)


def test_a_program_that_ends_at_once_says_its_last_words(tmp_path):
    command = (sys.executable, "-c", "print('no such disk')")
    with pytest.raises(ServerFailed, match="no such disk"):
        start(Program("server", command, lambda: False, tmp_path / "log"))


def test_children_die_with_a_killed_parent():
    code = (
        "import sys, time\nfrom console.machine.program import Program\nimport subprocess\n"
        f"one = subprocess.Popen({SLEEPS!r}, stdout=-1, **Program('x', (), bool).arguments())\n"
        "print(one.pid, flush=True)\ntime.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert parent.stdout
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    until("the child is gone", lambda: _gone(pid), 5)


def _gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
