"""The waterfall of a replica's start: its phases on a scale of seconds, with p50 and p95 of earlier starts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from console.components.formats import format_elapsed
from console.components.measured_starts import Durations
from console.components.phase_titles import PHASE_TITLES
from deployments.states import STARTING_ORDER, ReplicaState

STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
MAX_TICKS = 9


@dataclass(frozen=True)
class Phase:
    """One phase as it happened; `ended_at` None while it goes on."""

    name: str
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True)
class Bar:
    """One row. Positions and lengths are seconds since the start; `state` is done, going, coming or skipped."""

    title: str
    state: str
    begin: float
    length: float
    p50: float | None
    high: float | None
    elapsed: str
    usual: str

    @property
    def tone(self) -> str:
        return {"done": "good", "going": "moving"}.get(self.state, "gone")

    @property
    def icon(self) -> str:
        return {"done": "check", "going": "status-deploying", "skipped": "minus"}.get(self.state, "status-pending")


@dataclass(frozen=True)
class Waterfall:
    """`width` is the scale's end in seconds, a whole number of `ticks`; `now` is None once the start is over."""

    bars: tuple[Bar, ...]
    width: float
    ticks: tuple[str, ...]
    grid: tuple[float, ...]
    now: float | None
    elapsed: str
    ready_about_at: datetime | None
    ready_by_at: datetime | None
    is_late: bool
    count: int
    has_p95: bool

    @property
    def high_title(self) -> str:
        """What the end of the light band is."""
        return "p95" if self.has_p95 else "longest"


def draw_waterfall(phases: Sequence[Phase], typical: Mapping[str, Durations], now: datetime) -> Waterfall:
    """The waterfall of a start whose phases so far are `phases` (the starting phases only). Without any it has not
    begun: all phases are to come.

    `now` may lie a little before the last phase: a page reads its clock first and the rows after it.
    """
    begin = phases[0].started_at if phases else now
    over = bool(phases) and all(phase.ended_at for phase in phases)
    end = max((phase.ended_at or max(now, phase.started_at) for phase in phases), default=now)
    bars, about, late = _make_bars(phases, typical, begin, end, over)
    drawn = max(late, *(bar.begin + max(bar.length, bar.high or 0.0) for bar in bars)) * 1.04
    step = next((step for step in STEPS if drawn / step <= MAX_TICKS - 1), STEPS[-1])
    width = max(1, -(-drawn // step)) * step
    is_late = any(bar.state == "going" and bar.high is not None and bar.length > bar.high for bar in bars)
    known = bool(typical) and bool(phases) and not over and not is_late
    return Waterfall(
        bars=bars,
        width=width,
        ticks=tuple(format_elapsed(number * step) for number in range(int(width // step) + 1)),
        grid=tuple(float(number * step) for number in range(int(width // step) + 1)),
        now=None if over or not phases else (end - begin).total_seconds(),
        elapsed=format_elapsed((end - begin).total_seconds()),
        ready_about_at=begin + timedelta(seconds=about) if known else None,
        ready_by_at=begin + timedelta(seconds=late) if known else None,
        is_late=is_late,
        count=max((times.count for times in typical.values()), default=0),
        has_p95=any(times.has_p95 for times in typical.values()),
    )


def _make_bars(
    phases: Sequence[Phase], typical: Mapping[str, Durations], begin: datetime, end: datetime, over: bool
) -> tuple[tuple[Bar, ...], float, float]:
    """The rows, and when the last of them ends by p50 and by p95 (the longest, of few), in seconds since the start."""
    happened = {phase.name: phase for phase in phases}
    latest = max((STARTING_ORDER.index(ReplicaState(name)) for name in happened), default=-1)
    bars: list[Bar] = []
    about = late = 0.0
    for place, name in enumerate(STARTING_ORDER):
        times = typical.get(name)
        p50, high = (times.p50_seconds, times.high_seconds) if times else (None, None)
        phase = happened.get(name)
        if phase is None:
            skipped = over or place < latest
            position, length, state = about, 0.0, "skipped" if skipped else "coming"
        else:
            position = (phase.started_at - begin).total_seconds()
            length = ((phase.ended_at or end) - phase.started_at).total_seconds()
            state = "done" if phase.ended_at else "going"
        expected = 0.0 if state == "skipped" else (p50 or 0.0)
        at_most = 0.0 if state == "skipped" else (high or 0.0)
        if state in ("coming", "going"):
            about, late = position + max(length, expected), max(late, position) + max(length, at_most)
        elif state == "done":
            about = late = position + length
        shown = state != "skipped"
        bars.append(
            Bar(
                title=PHASE_TITLES[name],
                state=state,
                begin=position,
                length=length,
                p50=p50 if shown else None,
                high=high if shown else None,
                elapsed=format_elapsed(length) if phase else "–",
                usual=f"of {format_elapsed(p50)}" if p50 is not None and shown else "",
            )
        )
    return tuple(bars), about, late
