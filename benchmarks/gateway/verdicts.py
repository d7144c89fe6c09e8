"""What the gateway is held to, as ratios to nginx in the same run where that is possible. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.gateway.statistics import Spread, summarize

NGINX, GATEWAY = "nginx", "gateway"
Figures = Mapping[str, Mapping[str, Mapping[str, Spread]]]  # scenario → server → figure

REQUEST_GOAL, REQUEST_FLOOR = 1 / 0.6, 1 / 0.35  # CPU of a request, in multiples of nginx
CHUNK_GOAL = 1.4  # CPU of a chunk, in multiples of nginx
ADDED_P99_GOAL = 0.4  # ms
STREAM_MEMORY_GOAL = 10.0  # kB

# Scenarios and figures, as measurements and tables name them.
RATE, RATE_MANY, PACED, STREAMS, HELD = "rate", "replicas", "paced", "streams", "memory"
REQUEST_CPU, CHUNK_CPU, ADDED_P99, STREAM_MEMORY = "cpu_us", "chunk_us", "added_p99_ms", "stream_kb"
HELD_TO = {RATE: "CPU a request", RATE_MANY: "CPU a request, all replicas"}


@dataclass(frozen=True)
class Verdict:
    """`gateway` and `nginx` are medians in `unit`.

    Judged is `value`: with `is_ratio` the median over the rounds of gateway ÷ nginx, which other programs on the
    machine disturb least, because both are measured within seconds; else the figure of the gateway. `least` and
    `greatest` of the rounds. Less is better. A floor of None means that only the goal counts.
    """

    title: str
    unit: str
    gateway: float
    nginx: float
    is_ratio: bool
    value: float
    least: float
    greatest: float
    goal: float
    floor: float | None = None

    @property
    def outcome(self) -> str:
        """goal met | above the floor | missed."""
        if self.value <= self.goal:
            return "goal met"
        return "above the floor" if self.floor is not None and self.value <= self.floor else "missed"


def judge(figures: Figures) -> list[Verdict]:
    """Judge the figures that were measured."""
    return list(_judge(figures))


def _judge(figures: Figures) -> Iterator[Verdict]:
    for scenario, title in HELD_TO.items():
        if pair := _find_pair(figures, scenario, REQUEST_CPU):
            yield _judge_ratio(title, pair, REQUEST_GOAL, REQUEST_FLOOR)
    if pair := _find_pair(figures, STREAMS, CHUNK_CPU):
        yield _judge_ratio("CPU a chunk of a stream", pair, CHUNK_GOAL, None)
    if pair := _find_pair(figures, PACED, ADDED_P99):
        yield _judge_figure("added latency, p99", "ms", pair, ADDED_P99_GOAL)
    if pair := _find_pair(figures, HELD, STREAM_MEMORY):
        yield _judge_figure("memory a stream", "kB", pair, STREAM_MEMORY_GOAL)


def _find_pair(figures: Figures, scenario: str, figure: str) -> tuple[Spread, Spread] | None:
    """The figure of the gateway and of nginx."""
    servers = figures.get(scenario, {})
    if NGINX in servers and GATEWAY in servers:
        return servers[GATEWAY][figure], servers[NGINX][figure]
    return None


def _judge_ratio(title: str, pair: tuple[Spread, Spread], goal: float, floor: float | None) -> Verdict:
    gateway, nginx = pair
    ratio = summarize([ours / theirs for ours, theirs in zip(gateway.rounds, nginx.rounds, strict=True)])
    return Verdict(
        title, "µs", gateway.median, nginx.median, True, ratio.median, ratio.least, ratio.greatest, goal, floor
    )


def _judge_figure(title: str, unit: str, pair: tuple[Spread, Spread], goal: float) -> Verdict:
    gateway, nginx = pair
    return Verdict(
        title, unit, gateway.median, nginx.median, False, gateway.median, gateway.least, gateway.greatest, goal
    )
