"""Specification of a child process: command, user, readiness probe, and termination with its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1  # of prctl(2)


class ProcessStartFailed(Exception):
    """A process did not start; the message names it and the reason in one line."""


@dataclass(frozen=True)
class SystemUser:
    """The system user that a process runs as."""

    uid: int
    gid: int


@dataclass(frozen=True)
class ProcessSpec:
    """How to run a process.

    `is_ready` is a probe that never raises. Without `log` the starter reads the output. `death_signal` is sent by the
    kernel when the parent ends. `environment` None inherits the parent's.
    """

    name: str
    command: tuple[str, ...]
    is_ready: Callable[[], bool]
    log: Path | None = None
    user: SystemUser | None = None
    death_signal: int = signal.SIGKILL
    stop_signal: int = signal.SIGTERM
    environment: Mapping[str, str] | None = None
    folder: Path = Path("/")

    def build_arguments(self) -> dict[str, Any]:
        """Build the arguments for subprocess and asyncio: a session of its own that ends with the calling thread."""
        user = {"user": self.user.uid, "group": self.user.gid, "extra_groups": []} if self.user else {}
        return {
            "stdin": subprocess.DEVNULL,
            "stderr": subprocess.STDOUT,
            "start_new_session": True,
            "preexec_fn": die_with_parent(self.death_signal),
            "env": self.environment,
            "cwd": self.folder,
            **user,
        }


def die_with_parent(death_signal: int = signal.SIGKILL) -> Callable[[], None]:
    """Return a `preexec_fn`: the kernel sends `death_signal` to the child when the thread that started it ends."""
    parent, prctl = os.getpid(), ctypes.CDLL(None).prctl

    def set_death_signal() -> None:
        prctl(PR_SET_PDEATHSIG, death_signal)
        if os.getppid() != parent:
            os._exit(1)

    return set_death_signal


def start_process(spec: ProcessSpec, seconds: float = 20.0) -> subprocess.Popen[bytes]:
    """Start a process that has a log and wait until it is ready. Raises ProcessStartFailed after `seconds`."""
    with (spec.log or Path(os.devnull)).open("ab") as log:
        process = subprocess.Popen(spec.command, stdout=log, **spec.build_arguments())
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        if spec.is_ready():
            return process
        time.sleep(0.03)
    process.kill()
    process.wait()
    raise ProcessStartFailed(describe_start_failure(spec))


def describe_start_failure(spec: ProcessSpec) -> str:
    """Return one line: that the process did not start, and the last line of its log."""
    lines = spec.log.read_text(errors="replace").splitlines() if spec.log and spec.log.exists() else []
    return f"{spec.name} did not start" + (f"; its last output: {lines[-1].strip()}" if lines else ".")
