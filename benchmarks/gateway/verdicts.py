"""What the gateway is held to, as ratios to nginx in the same run where that is possible. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.gateway.statistics import Spread

NGINX, GATEWAY = "nginx", "gateway"
Figures = Mapping[str, Mapping[str, Mapping[str, Spread]]]  # scenario → server → figure

REQUEST_GOAL, REQUEST_FLOOR = 1 / 0.6, 1 / 0.35  # CPU of a request, as multiples of nginx
CHUNK_GOAL = 1.4  # CPU of a chunk, as a multiple of nginx
ADDED_P99_GOAL = 0.4  # ms
STREAM_MEMORY_GOAL = 10.0  # kB

# Scenarios and figures, as measurements and tables name them.
RATE, RATE_MANY, RATE_LIMITS, PACED, STREAMS, HELD = "rate", "replicas", "limits", "paced", "streams", "memory"
REQUEST_CPU, CHUNK_CPU, ADDED_P99, STREAM_MEMORY = "cpu_us", "chunk_us", "added_p99_ms", "stream_kb"
HELD_TO = {RATE: "CPU a request", RATE_MANY: "CPU a request, all replicas", RATE_LIMITS: "CPU a request, limits on"}


@dataclass(frozen=True)
class Verdict:
    """`value`, `goal` and `floor` in `unit`; a floor of None means that only the goal counts."""

    title: str
    unit: str
    value: float
    nginx: float | None
    goal: float
    floor: float | None

    @property
    def outcome(self) -> str:
        """goal met | above the floor | missed. Less is better in every unit."""
        if self.value <= self.goal:
            return "goal met"
        return "above the floor" if self.floor is not None and self.value <= self.floor else "missed"


def judge(figures: Figures) -> list[Verdict]:
    """Judge the figures that were measured, by their medians."""
    return list(_judge(figures))


def _judge(figures: Figures) -> Iterator[Verdict]:
    for scenario, title in HELD_TO.items():
        if pair := _medians(figures, scenario, REQUEST_CPU):
            value, nginx = pair
            yield Verdict(title, "µs", value, nginx, nginx * REQUEST_GOAL, nginx * REQUEST_FLOOR)
    if pair := _medians(figures, STREAMS, CHUNK_CPU):
        value, nginx = pair
        yield Verdict("CPU a chunk of a stream", "µs", value, nginx, nginx * CHUNK_GOAL, None)
    if pair := _medians(figures, PACED, ADDED_P99):
        value, nginx = pair
        yield Verdict("added latency, p99", "ms", value, nginx, ADDED_P99_GOAL, None)
    if pair := _medians(figures, HELD, STREAM_MEMORY):
        value, nginx = pair
        yield Verdict("memory a stream", "kB", value, nginx, STREAM_MEMORY_GOAL, None)


def _medians(figures: Figures, scenario: str, figure: str) -> tuple[float, float] | None:
    """The medians of the gateway and of nginx."""
    servers = figures.get(scenario, {})
    if NGINX in servers and GATEWAY in servers:
        return servers[GATEWAY][figure].median, servers[NGINX][figure].median
    return None
