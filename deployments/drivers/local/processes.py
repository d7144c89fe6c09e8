"""Processes of this machine: who they are, whether they live, which belong to a replica. Linux, standard library only.

A process is its pid **and** its start time; a pid alone may have gone to somebody else. A zombie counts as gone.
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
    def lives(self) -> bool:
        return find(self.pid) == self

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens when it is gone."""
        if self.lives:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return


def find(pid: int) -> Process | None:
    """The process that has this pid now; None when there is none or it is a zombie."""
    try:
        stat = (PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name in brackets may hold spaces; state is field 3
    return None if fields[0] in {"Z", "X"} else Process(pid, int(fields[19]))


def of_replica(replica_id: str) -> Iterator[Process]:
    """Every live process with this replica's id in its environment: its engine, its download, their children."""
    mark = f"{REPLICA_VARIABLE}={replica_id}".encode()
    for entry in os.scandir(PROC):
        if entry.name.isdecimal() and mark in _environment(entry.path).split(b"\0"):
            process = find(int(entry.name))
            if process:
                yield process


def kill_replica(replica_id: str) -> bool:
    """SIGKILL to everything that belongs to a replica; returns whether anything was left to kill."""
    found = list(of_replica(replica_id))
    for process in found:
        process.signal(signal.SIGKILL)
    return bool(found)


def _environment(folder: str) -> bytes:
    try:
        with open(f"{folder}/environ", "rb") as file:
            return file.read()
    except OSError:  # gone, or somebody else's
        return b""


def die_with_parent() -> Callable[[], None]:
    """For a child before exec: the kernel kills it when the thread that forked it ends."""
    parent, prctl = os.getpid(), ctypes.CDLL(None, use_errno=True).prctl

    def arrange() -> None:
        prctl(SET_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return arrange


def adopt_orphans() -> None:
    """Children of our children become ours when their parent dies, so that they can be reaped."""
    ctypes.CDLL(None, use_errno=True).prctl(SET_CHILD_SUBREAPER, 1)
