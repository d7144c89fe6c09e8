"""A rolling update in words: from which revision to which, how many replicas of each, and what comes next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from console.components.formats import format_count, format_elapsed, join_words
from console.pages.replica_rows import ReplicaRow
from deployments.models import Revision
from deployments.states import STARTING, ReplicaState

R = ReplicaState
WORDS = ((R.READY, "ready"), ("", "starting"), (R.DRAINING, "draining"), (R.STOPPING, "stopping"))


@dataclass(frozen=True)
class Side:
    """The live replicas of one revision; `words` is 2 ready, 1 draining."""

    number: int
    is_new: bool
    words: str
    count: int


@dataclass(frozen=True)
class Rollout:
    """`rows` are the live replicas, `revision` the wanted one. Replicas whose configuration is the same count as
    replaced, whatever the number of their revision."""

    revision: Revision
    rows: Sequence[ReplicaRow]
    wanted: int
    hold: str
    drain_seconds: float
    settle_seconds: float
    now: datetime

    def is_new(self, row: ReplicaRow) -> bool:
        return row.replica.revision.spec_hash == self.revision.spec_hash

    @property
    def old(self) -> list[ReplicaRow]:
        return [row for row in self.rows if not self.is_new(row)]

    @property
    def new(self) -> list[ReplicaRow]:
        return [row for row in self.rows if self.is_new(row)]

    @property
    def is_going_on(self) -> bool:
        return bool(self.old)

    @property
    def before(self) -> int | None:
        """The newest revision that is replaced."""
        return max((row.replica.revision.number for row in self.old), default=None)

    @property
    def replaced(self) -> int:
        return min(self.wanted, sum(row.replica.state == R.READY for row in self.new))

    @property
    def sides(self) -> list[Side]:
        """Old revisions first."""
        numbers = sorted({row.replica.revision.number for row in self.old})
        sides = [self._side(one, [r for r in self.old if r.replica.revision.number == one]) for one in numbers]
        return [*sides, self._side(self.revision.number, self.new, is_new=True)]

    def _side(self, number: int, rows: Sequence[ReplicaRow], *, is_new: bool = False) -> Side:
        counts = Counter("" if row.replica.state in STARTING else row.replica.state for row in rows)
        words = ", ".join(f"{counts[state]} {word}" for state, word in WORDS if counts[state])
        return Side(number, is_new, words or "none yet", len(rows))

    @property
    def next(self) -> str:
        """One sentence: what it waits for now."""
        if self.hold:
            return f"Held: {self.hold.rstrip('.')}."
        if starting := [row.short for row in self.new if row.replica.state in STARTING]:
            verb = "is" if len(starting) == 1 else "are"
            return f"Next: once {join_words(starting)} {verb} ready, an old replica drains."
        if draining := [row for row in self.old if row.replica.state == R.DRAINING]:
            return f"Next: {join_words([self._drain(row) for row in draining])}."
        if stopping := [row.short for row in self.old if row.replica.state == R.STOPPING]:
            verb = "stops, its GPUs are" if len(stopping) == 1 else "stop, their GPUs are"
            return f"Next: {join_words(stopping)} {verb} released."
        if settling := [row.short for row in self.new if self._is_settling(row)]:
            stay = f"must stay ready for {self.settle_seconds:g} s"
            return f"Next: {join_words(settling)} {stay}, then an old replica drains."
        return f"Next: a replica of revision {self.revision.number} starts."

    def _is_settling(self, row: ReplicaRow) -> bool:
        since = row.replica.ready_at or row.replica.state_since
        return row.replica.state == R.READY and self.now - since < timedelta(seconds=self.settle_seconds)

    def _drain(self, row: ReplicaRow) -> str:
        """r-7f3a finishes 3 requests, at most 0:38, then stops."""
        finishes = format_count(row.requests, "request") if row.requests else "what it has"
        since = row.replica.drain_started_at or self.now
        left = (since + timedelta(seconds=self.drain_seconds) - self.now).total_seconds()
        return f"{row.short} finishes {finishes}, at most {format_elapsed(left)}, then stops"
