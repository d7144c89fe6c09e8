"""How long earlier starts took, in words. Pure."""

from __future__ import annotations

from typing import Protocol

from console.components.formats import format_count, format_elapsed


class Durations(Protocol):
    """Seconds; `high_seconds` is the p95 where `has_p95`, else the longest of `count`."""

    @property
    def p50_seconds(self) -> float: ...
    @property
    def high_seconds(self) -> float: ...
    @property
    def shortest_seconds(self) -> float: ...
    @property
    def count(self) -> int: ...
    @property
    def has_p95(self) -> bool: ...


def describe_starts(durations: Durations) -> str:
    """0:42, p95 0:51, based on 30 earlier starts; with too few for a p95 0:38 to 0:51, with one 0:42."""
    figures = format_elapsed(durations.p50_seconds)
    if durations.has_p95:
        figures += f", p95 {format_elapsed(durations.high_seconds)}"
    elif durations.count > 1:
        figures = f"{format_elapsed(durations.shortest_seconds)} to {format_elapsed(durations.high_seconds)}"
    return f"{figures}, based on {format_count(durations.count, 'earlier start')}"
