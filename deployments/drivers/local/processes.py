"""Processes of this machine, and which of them belong to a replica. Linux, standard library only.

A process is identified by its pid and its start time, as pids are reused. A zombie counts as gone.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
SET_DEATH_SIGNAL, SET_CHILD_SUBREAPER = 1, 36  # options of prctl(2)
REPLICA_VARIABLE = "CONSOLE_REPLICA_ID"


@dataclass(frozen=True)
class Process:
    """`started` is field 22 of /proc/PID/stat: clock ticks since the machine started."""

    pid: int
    started: int

    @property
    def is_alive(self) -> bool:
        return find(self.pid) == self

    def signal(self, number: int) -> None:
        """Send a signal, unless it is gone."""
        if self.is_alive:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return


def read_boot_id() -> str:
    """Another one after every start of the machine."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def find(pid: int) -> Process | None:
    """The process with this pid; None if there is none or it is a zombie."""
    try:
        stat = (PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name in brackets may contain spaces; the state is field 3
    return None if fields[0] in {"Z", "X"} else Process(pid, int(fields[19]))


def find_by_replica(replica_id: str) -> Iterator[Process]:
    """Every live process with this replica's id in its environment: the engine or download, and their children."""
    variable = f"{REPLICA_VARIABLE}={replica_id}".encode()
    for entry in os.scandir(PROC):
        if entry.name.isdecimal() and variable in _read_environment(entry.path).split(b"\0"):
            process = find(int(entry.name))
            if process:
                yield process


def kill_replica(replica_id: str) -> bool:
    """SIGKILL to everything that belongs to a replica; returns whether anything was left to kill."""
    remaining = list(find_by_replica(replica_id))
    for process in remaining:
        process.signal(signal.SIGKILL)
    return bool(remaining)


def _read_environment(folder: str) -> bytes:
    try:
        with open(f"{folder}/environ", "rb") as file:
            return file.read()
    except OSError:  # gone, or owned by another user
        return b""


def die_with_parent() -> Callable[[], None]:
    """A preexec function: the kernel kills the child when the thread that forked it ends."""
    parent, prctl = os.getpid(), ctypes.CDLL(None, use_errno=True).prctl

    def set_death_signal() -> None:
        prctl(SET_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return set_death_signal


def adopt_orphans() -> None:
    """Become the parent of orphaned descendants, so that they can be reaped."""
    ctypes.CDLL(None, use_errno=True).prctl(SET_CHILD_SUBREAPER, 1)
