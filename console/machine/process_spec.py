"""A program of ours as a child process: how to run it, as whom, when it answers, how it dies with its parent."""

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

SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


class ServerFailed(Exception):
    """A program did not start; the message says which and why, in one line."""


@dataclass(frozen=True)
class Identity:
    """A system user that a program runs as."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Program:
    """How to run it. `answers` is a probe that never raises; `log` None leaves the output to whoever starts it;
    `death_signal` is what the kernel sends when the parent dies, `environment` None means the parent's."""

    name: str
    command: tuple[str, ...]
    answers: Callable[[], bool]
    log: Path | None = None
    identity: Identity | None = None
    death_signal: int = signal.SIGKILL
    stop_signal: int = signal.SIGTERM
    environment: Mapping[str, str] | None = None
    folder: Path = Path("/")

    def arguments(self) -> dict[str, Any]:
        """What subprocess and asyncio need to start it in a session of its own, tied to the calling thread."""
        who = self.identity
        user = {"user": who.uid, "group": who.gid, "extra_groups": []} if who else {}
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
    """For a child before exec: the kernel sends it `death_signal` when the thread that started it ends."""
    parent, prctl = os.getpid(), ctypes.CDLL(None).prctl

    def arrange() -> None:
        prctl(SET_DEATH_SIGNAL, death_signal)
        if os.getppid() != parent:
            os._exit(1)

    return arrange


def start(program: Program, seconds: float = 20.0) -> subprocess.Popen[bytes]:
    """Run a program that has a log under the calling thread; returns once it answers, else raises ServerFailed."""
    with (program.log or Path(os.devnull)).open("ab") as log:
        process = subprocess.Popen(program.command, stdout=log, **program.arguments())
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        if program.answers():
            return process
        time.sleep(0.03)
    process.kill()
    process.wait()
    raise ServerFailed(failure(program))


def failure(program: Program) -> str:
    """One line: that it did not start, and the last thing it said."""
    said = program.log.read_text(errors="replace").splitlines() if program.log and program.log.exists() else []
    return f"{program.name} did not start" + (f"; it said: {said[-1].strip()}" if said else ".")
