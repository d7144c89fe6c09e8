"""What a question waits for while no token has come, and how much of the wait is a cold start. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from console.components.formats import format_elapsed
from console.components.measured_starts import Durations, describe_starts
from console.components.phase_titles import PHASE_TITLES
from console.playground.answer import Measurements
from deployments.states import STARTING_ORDER, ReplicaState


@dataclass(frozen=True)
class Waiting:
    """`words` say what the question waits for, `elapsed` since when, `expected` how long a start usually takes (empty
    unless the deployment starts)."""

    words: str
    elapsed: str
    expected: str = ""


def describe_wait(states: Collection[str], usual: Durations | None, seconds: float) -> Waiting:
    """`states` are those of the live replicas, `usual` are earlier starts (None: none was measured); `seconds` have
    passed since the question was sent."""
    elapsed = format_elapsed(seconds)
    if ReplicaState.READY in states:
        return Waiting("Waiting for the first token,", elapsed)
    starting = [state for state in STARTING_ORDER if state in states]
    title = PHASE_TITLES[starting[-1]] if starting else "Waiting for GPUs"
    expected = f"of about {describe_starts(usual)}" if usual else "(no earlier starts to compare with)"
    return Waiting(f"Cold start: {title[0].lower()}{title[1:]},", elapsed, expected)


def split_cold_start(measured: Measurements, asked_at: datetime, ready_at: datetime | None) -> Measurements:
    """Move the wait for the first replica, which was ready at `ready_at` (None: unknown), from the TTFT to the cold
    start. A TTFT is never negative."""
    ready_ms = measured.ttft_ms if ready_at is None else round((ready_at - asked_at).total_seconds() * 1000)
    cold_ms = min(measured.ttft_ms, max(0, ready_ms))
    return replace(measured, cold_start_seconds=round(cold_ms / 1000, 1), ttft_ms=measured.ttft_ms - cold_ms)
