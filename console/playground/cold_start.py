"""What a question waits for while no token has come, and how much of the wait is a cold start. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from console.components.formats import format_count, format_elapsed
from console.components.phase_titles import PHASE_TITLES
from console.playground.answer import Measurements
from deployments.states import STARTING_ORDER, ReplicaState


class PhaseTimes(Protocol):
    """How long a phase took in earlier starts, seconds."""

    @property
    def p50_seconds(self) -> float: ...
    @property
    def count(self) -> int: ...


@dataclass(frozen=True)
class Waiting:
    """`words` say what the question waits for, `elapsed` since when, `expected` how long a start usually takes (empty
    unless the deployment starts)."""

    words: str
    elapsed: str
    expected: str = ""


def describe_wait(states: Collection[str], typical: Mapping[str, PhaseTimes], seconds: float) -> Waiting:
    """`states` are those of the live replicas; `seconds` have passed since the question was sent."""
    elapsed = format_elapsed(seconds)
    if ReplicaState.READY in states:
        return Waiting("Waiting for the first token,", elapsed)
    starting = [state for state in STARTING_ORDER if state in states]
    title = PHASE_TITLES[starting[-1]] if starting else "Waiting for GPUs"
    words = f"Cold start: {title[0].lower()}{title[1:]},"
    return Waiting(words, elapsed, _expect(typical))


def _expect(typical: Mapping[str, PhaseTimes]) -> str:
    """of about 0:42, based on 3 earlier starts."""
    if not typical:
        return "(no earlier starts to compare with)"
    starts = format_count(max(times.count for times in typical.values()), "earlier start")
    return f"of about {format_elapsed(sum(times.p50_seconds for times in typical.values()))}, based on {starts}"


def split_cold_start(measured: Measurements, asked_at: datetime, ready_at: datetime | None) -> Measurements:
    """Move the wait for the first replica, which was ready at `ready_at` (None: unknown), from the TTFT to the cold
    start. A TTFT is never negative."""
    ready_ms = measured.ttft_ms if ready_at is None else round((ready_at - asked_at).total_seconds() * 1000)
    cold_ms = min(measured.ttft_ms, max(0, ready_ms))
    return replace(measured, cold_start_seconds=round(cold_ms / 1000, 1), ttft_ms=measured.ttft_ms - cold_ms)
