"""Real child processes: restart, stop, and death with the parent."""

import asyncio
import io
import os
import signal
import subprocess
import sys

import pytest

from console.machine.process_spec import ProcessSpec, ProcessStartFailed, start_process
from console.machine.supervisor import SupervisedProcess
from console.machine.terminal_output import TerminalOutput
from tests.e2e.stack import until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
SLEEPS = (sys.executable, "-c", "print('here', flush=True); import time; time.sleep(600)")
DEAF = (sys.executable, "-c", "import signal,time; signal.signal(15, 1); print('deaf', flush=True); time.sleep(600)")


def build_supervised(
    command: tuple[str, ...], changes: list[int] | None = None
) -> tuple[SupervisedProcess, io.StringIO]:
    stream, seen = io.StringIO(), changes if changes is not None else []
    supervised = SupervisedProcess(
        ProcessSpec("web", command, lambda: True), TerminalOutput(stream), lambda: seen.append(1)
    )
    return supervised, stream


async def eventually(condition, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - another process has no event to wait for
            await asyncio.sleep(0.02)


async def test_a_process_that_ends_is_restarted_and_the_callback_is_called():
    changes: list[int] = []
    supervised, stream = build_supervised(SLEEPS, changes)
    await supervised.start()
    await eventually(lambda: "here" in stream.getvalue())
    first = supervised.pid
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: supervised.pid not in {first, None})
    assert supervised.restarts == 1
    assert len(changes) == 2
    await eventually(lambda: stream.getvalue().count("web      │ here") == 2)
    assert "web was ended by SIGKILL" in stream.getvalue()
    await supervised.stop(grace_seconds=5)
    assert supervised.pid is None


async def test_a_process_that_ignores_the_stop_signal_is_killed_after_the_grace_period():
    supervised, stream = build_supervised(DEAF)
    await supervised.start()
    await eventually(lambda: "deaf" in stream.getvalue())
    pid = supervised.pid
    await supervised.stop(grace_seconds=0.2)
    assert supervised.pid is None
    assert _gone(pid)


async def test_a_process_that_is_stopped_while_it_waits_for_its_restart_stays_stopped():
    supervised, stream = build_supervised((sys.executable, "-c", "raise SystemExit(3)"))
    await supervised.start()
    await eventually(lambda: "ended with exit code 3" in stream.getvalue())
    await supervised.stop(grace_seconds=1)
    restarts = supervised.restarts
    assert supervised._supervision
    await eventually(supervised._supervision.done)
    assert supervised.restarts == restarts
    assert supervised.pid is None


async def test_a_process_that_never_becomes_ready_fails_with_one_line():
    stream = io.StringIO()
    supervised = SupervisedProcess(ProcessSpec("web", SLEEPS, lambda: False), TerminalOutput(stream), lambda: None)
    await supervised.start()
    with pytest.raises(ProcessStartFailed, match="web did not start"):
        await supervised.wait_until_ready(0.3)
    await supervised.stop(grace_seconds=2)


def test_the_error_of_a_process_that_ends_at_once_contains_its_last_output(tmp_path):
    command = (sys.executable, "-c", "print('no such disk')")
    with pytest.raises(ProcessStartFailed, match="no such disk"):
        start_process(ProcessSpec("server", command, lambda: False, tmp_path / "log"))


def test_children_die_with_a_killed_parent():
    code = (
        "import sys, time\nfrom console.machine.process_spec import ProcessSpec\nimport subprocess\n"
        f"child = subprocess.Popen({SLEEPS!r}, stdout=-1, **ProcessSpec('x', (), bool).build_arguments())\n"
        "print(child.pid, flush=True)\ntime.sleep(600)\n"
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
