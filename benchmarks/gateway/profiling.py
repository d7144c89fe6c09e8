"""Where the gateway spends its CPU time: `summarize` is pure, `profile` runs the gateway with its sampler."""

from __future__ import annotations

import json
import linecache
import os
import signal
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.gateway import load
from benchmarks.gateway.load import Target, Window
from benchmarks.gateway.processes import read_cpu_seconds
from benchmarks.gateway.servers import ROOT, BenchmarkFailed, Machine, Server
from benchmarks.gateway.tables import format_table

EVENT_LOOP = "event loop: uvloop, and the kernel for it"
LOOP_MODULES = ("asyncio", "uvloop")
STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib")).name
WRITE_SECONDS = 20.0


@dataclass(frozen=True)
class Frame:
    """`line` is the first one of the function."""

    file: str
    line: int
    name: str


@dataclass(frozen=True)
class Sample:
    """`stack` begins with the innermost function, which was interrupted in `line`."""

    count: int
    line: int
    stack: tuple[Frame, ...]


@dataclass(frozen=True)
class Profile:
    """Microseconds, greatest first. What is written in C belongs to the function that calls it."""

    modules: list[tuple[str, float]]
    functions: list[tuple[str, float, float]]  # own, and with what it calls
    lines: list[tuple[str, float]]


def parse_samples(text: str) -> list[Sample]:
    return [Sample(count, line, tuple(Frame(*frame) for frame in stack)) for count, line, stack in json.loads(text)]


def summarize(samples: Sequence[Sample], microseconds: float) -> Profile:
    """Distribute `microseconds`, the CPU time of one request or chunk, by the shares of the samples."""
    total = sum(sample.count for sample in samples) or 1
    modules: Counter[str] = Counter()
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    for sample in samples:
        inner = sample.stack[0]
        if is_in_event_loop(sample):
            modules[EVENT_LOOP] += sample.count
            own[EVENT_LOOP] += sample.count
            within[EVENT_LOOP] += sample.count
            continue
        modules[name_module(inner.file)] += sample.count
        own[name_function(inner)] += sample.count
        lines[
            f"{name_module(inner.file)}:{sample.line}  {linecache.getline(inner.file, sample.line).strip()[:80]}"
        ] += sample.count
        for name in {name_function(frame) for frame in sample.stack}:
            within[name] += sample.count
    scale = microseconds / total
    return Profile(
        [(name, count * scale) for name, count in modules.most_common()],
        sorted(((name, own[name] * scale, count * scale) for name, count in within.items()), key=lambda row: -row[1]),
        [(name, count * scale) for name, count in lines.most_common()],
    )


def is_in_event_loop(sample: Sample) -> bool:
    """Python handles a signal between two of its own instructions: what the event loop did in C until it called the
    next function ends in that function's first line, and what it did without calling one in the function that runs it.
    """
    inner, *outer = sample.stack
    if runs_loop(inner):
        return True
    return bool(outer) and runs_loop(outer[0]) and sample.line == inner.line


def runs_loop(frame: Frame) -> bool:
    return name_module(frame.file) in LOOP_MODULES and frame.name.rpartition(".")[2] in {"run", "wrapper"}


def name_module(file: str) -> str:
    """`gateway/inference.py` for ours, the package for others."""
    path = Path(file)
    for folder in ("site-packages", "lib-dynload", STANDARD_LIBRARY):
        if folder in path.parts:
            return Path(path.parts[path.parts.index(folder) + 1]).stem
    if path.is_relative_to(ROOT):
        return str(path.relative_to(ROOT))
    return path.stem or file


def name_function(frame: Frame) -> str:
    return f"{name_module(frame.file)}:{frame.line} {frame.name}"


def format_profile(profile: Profile, rows: int) -> str:
    total = sum(own for _, own in profile.modules) or 1.0

    def select(table: Iterable[Sequence[Any]]) -> list[list[str]]:
        found = [[str(name), *(f"{value:.1f}" for value in values)] for name, *values in table]
        return [[*row, f"{float(row[1]) / total:.1%}"] for row in found[:rows]]

    return "\n\n".join(
        [
            format_table(["module", "own µs", "share"], select(profile.modules)),
            format_table(["function", "own µs", "with callees µs", "own share"], select(profile.functions)),
            format_table(["line", "own µs", "share"], select(profile.lines)),
        ]
    )


Runner = Callable[[Target, Callable[[], float]], Coroutine[Any, Any, Window[float]]]


def profile(machine: Machine, run: Runner, count: Callable[[Window[float]], int]) -> tuple[Profile, float, int]:
    """Run a load. Returns the profile, the CPU time of each answer (as `count` counts them) in microseconds, and the
    number of samples."""
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
    microseconds = (window.after - window.before) * 1e6 / max(count(window), 1)
    samples = parse_samples(path.read_text())
    return summarize(samples, microseconds), microseconds, sum(sample.count for sample in samples)


def _signal(server: Server, number: int) -> float:
    used = read_cpu_seconds(server.pids)
    os.kill(server.pids[0], number)
    return used
