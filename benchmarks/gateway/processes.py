"""CPU time, memory and cores of processes: parsers of /proc, which are pure, and the functions that read it."""

from __future__ import annotations

import ctypes
import os
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class ProcessStat:
    """From /proc/PID/stat; times in seconds, of all threads, ended ones included."""

    parent: int
    user_seconds: float
    system_seconds: float


def parse_stat(text: str, ticks_per_second: int = TICKS_PER_SECOND) -> ProcessStat:
    """Parse /proc/PID/stat. The name of the command, in parentheses, may contain anything, parentheses included."""
    fields = text[text.rindex(")") + 1 :].split()
    return ProcessStat(int(fields[1]), int(fields[11]) / ticks_per_second, int(fields[12]) / ticks_per_second)


def parse_resident_bytes(status: str) -> int:
    """Parse VmRSS of /proc/PID/status."""
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ValueError("no VmRSS: the process has ended")


def parse_busy_seconds(stat: str, cores: Collection[int], ticks_per_second: int = TICKS_PER_SECOND) -> float:
    """Parse /proc/stat: seconds for which `cores` together were neither idle nor waiting for a disk."""
    busy = 0
    for line in stat.splitlines():
        name, _, rest = line.partition(" ")
        if name.startswith("cpu") and name != "cpu" and int(name[3:]) in cores:
            user, nice, system, _idle, _iowait, interrupts, soft_interrupts, stolen, *_guest = map(int, rest.split())
            busy += user + nice + system + interrupts + soft_interrupts + stolen
    return busy / ticks_per_second


def find_descendants(parents: dict[int, int], root: int) -> list[int]:
    """List `root` and every process below it; `parents` by process id."""
    children = defaultdict(list)
    for pid, parent in parents.items():
        children[parent].append(pid)
    found = [root]
    for pid in found:
        found += sorted(children[pid])
    return found


@dataclass(frozen=True)
class Cores:
    """The core of each part; parts share one where there are fewer than four."""

    server: int
    valkey: int
    replica: int
    load: int

    def describe(self) -> str:
        parts = defaultdict(list)
        for name, core in vars(self).items():
            parts[core].append({"server": "the server under test", "valkey": "Valkey"}.get(name, name))
        texts = [f"core {core}: {', '.join(names)}" for core, names in sorted(parts.items())]
        return "; ".join(
            text + (" (shared)" if len(parts[core]) > 1 else "")
            for core, text in zip(sorted(parts), texts, strict=True)
        )


def place_on_cores(available: Iterable[int]) -> Cores:
    """The server under test has a core of its own if there are two; then the load, then the replica, then Valkey."""
    server, *others = sorted(available)
    others = (others or [server])[:3]
    return Cores(server=server, load=others[0], replica=others[1 % len(others)], valkey=others[-1])


def read_cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time that these processes have used, user and system, to the nanosecond (/proc counts hundredths)."""
    total = 0.0
    for pid in pids:
        clock = ctypes.c_int()
        if error := _libc.clock_getcpuclockid(pid, ctypes.byref(clock)):
            raise ProcessLookupError(error, f"process {pid} has ended")
        total += time.clock_gettime(clock.value)
    return total


def read_system_share(pids: Iterable[int]) -> tuple[float, float]:
    """Return (user seconds, system seconds) that these processes have used, to the hundredth."""
    stats = [parse_stat((PROC / str(pid) / "stat").read_text()) for pid in pids]
    return sum(stat.user_seconds for stat in stats), sum(stat.system_seconds for stat in stats)


def read_resident_bytes(pids: Iterable[int]) -> int:
    return sum(parse_resident_bytes((PROC / str(pid) / "status").read_text()) for pid in pids)


def read_busy_seconds(cores: Collection[int]) -> float:
    return parse_busy_seconds((PROC / "stat").read_text(), cores)


def list_process_tree(root: int) -> tuple[int, ...]:
    """List the process and all that it has started."""
    parents = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = parse_stat((folder / "stat").read_text()).parent
            except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                continue
    return tuple(find_descendants(parents, root))


def pin(pids: Sequence[int], core: int) -> None:
    """Pin all present threads of these processes."""
    for pid in pids:
        for thread in (PROC / str(pid) / "task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})
