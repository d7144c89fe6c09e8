"""Where the gateway spends its time: `summarize` is pure, `profile` runs the gateway under cProfile.

cProfile makes each call of a Python function about a microsecond dearer, so the shares say more than the times.
"""

from __future__ import annotations

import marshal
import os
import signal
import sysconfig
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.gateway import load
from benchmarks.gateway.load import Target, Window
from benchmarks.gateway.processes import read_cpu_seconds
from benchmarks.gateway.servers import ROOT, BenchmarkFailed, Machine, Server
from benchmarks.gateway.tables import format_table

Function = tuple[str, int, str]  # file, line, name
Stats = Mapping[Function, tuple[int, int, float, float, Mapping[Function, tuple[int, int, float, float]]]]
WRITE_SECONDS = 20.0
STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib")).name


@dataclass(frozen=True)
class Cost:
    """Calls and microseconds of one request or one chunk; `within` includes what was called from there."""

    name: str
    calls: float
    own: float
    within: float


def name_module(file: str) -> str:
    """`gateway/inference.py` for ours, the package for others, "built in" for C."""
    if file.startswith(("~", "<")):
        return "built in"
    path = Path(file)
    for folder in ("site-packages", "lib-dynload", STANDARD_LIBRARY):
        if folder in path.parts:
            return Path(path.parts[path.parts.index(folder) + 1]).stem
    if path.is_relative_to(ROOT):
        return str(path.relative_to(ROOT))
    return path.stem


def summarize_functions(stats: Stats, count: int) -> list[Cost]:
    """The functions by their own time, the longest first."""
    costs = [
        Cost(
            f"{name_module(file)}:{line} {name}" if line else name, calls / count, own * 1e6 / count, all_ * 1e6 / count
        )
        for (file, line, name), (_, calls, own, all_, _) in stats.items()
    ]
    return sorted(costs, key=lambda cost: -cost.own)


def summarize_modules(stats: Stats, count: int) -> list[Cost]:
    """The modules by their own time, the longest first; what is built in belongs to the module that calls it."""
    calls: dict[str, float] = defaultdict(float)
    own: dict[str, float] = defaultdict(float)
    for (file, _, _), (_, all_calls, time_, _, callers) in stats.items():
        module = name_module(file)
        if module != "built in" or not callers:
            own[module] += time_
            calls[module] += all_calls
            continue
        for (caller, _, _), (_, _, share, _) in callers.items():
            own[name_module(caller)] += share
    costs = [Cost(name, calls[name] / count, value * 1e6 / count, 0.0) for name, value in own.items()]
    return sorted(costs, key=lambda cost: -cost.own)


def format_costs(functions: list[Cost], modules: list[Cost], lines: int) -> str:
    total = sum(cost.own for cost in modules) or 1.0
    by_module = [[cost.name, f"{cost.own:.1f}", f"{cost.own / total:.1%}", f"{cost.calls:.1f}"] for cost in modules]
    by_function = [
        [cost.name, f"{cost.own:.1f}", f"{cost.within:.1f}", f"{cost.calls:.2f}"] for cost in functions[:lines]
    ]
    return "\n\n".join(
        [
            format_table(["module, with what is built in", "own µs", "share", "calls"], by_module[:lines]),
            format_table(["function", "own µs", "with callees µs", "calls"], by_function),
        ]
    )


Runner = Callable[[Target, Callable[[], float]], Coroutine[Any, Any, Window[float]]]


def profile(machine: Machine, run: Runner, count: Callable[[Window[float]], int]) -> tuple[Stats, int, float]:
    """Run a load; returns the profile, `count` of what it answered, and the CPU seconds that this took, profiling
    included."""
    path = machine.folder / f"gateway-{time.monotonic_ns()}.profile"
    with machine.gateway(1, profile=path) as server:
        uvloop.run(load.run_closed_loop(server.target, 64, 0.5, lambda: None))
        signals = iter((signal.SIGUSR1, signal.SIGUSR2))
        window = uvloop.run(run(server.target, lambda: _signal(server, next(signals))))
        deadline = time.monotonic() + WRITE_SECONDS
        while not path.exists():
            if time.monotonic() > deadline:
                raise BenchmarkFailed("The gateway did not write its profile.")
            time.sleep(0.05)
        return marshal.loads(path.read_bytes()), count(window), window.after - window.before


def _signal(server: Server, number: int) -> float:
    used = read_cpu_seconds(server.pids)
    os.kill(server.pids[0], number)
    return used
