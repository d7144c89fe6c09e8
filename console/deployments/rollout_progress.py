"""The progress of a rolling update: from which revision to which, how many replicas of each, and what comes next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings

from console.components.formats import format_count, format_elapsed, join_words
from console.deployments.page_context import CurrentState
from console.deployments.replica_rows import ReplicaRow
from deployments.messages import describe_reason
from deployments.states import STARTING, ReplicaState

R = ReplicaState
COUNTED_STATES = ((R.READY, "ready"), ("", "starting"), (R.DRAINING, "draining"), (R.STOPPING, "stopping"))


@dataclass(frozen=True)
class RevisionReplicas:
    """The live replicas of one revision; `counts` is `2 ready, 1 draining`."""

    number: int
    is_new: bool
    counts: str


@dataclass(frozen=True)
class RolloutProgress:
    """Replicas whose configuration equals the wanted one count as new, whatever the number of their revision."""

    state: CurrentState
    old: list[ReplicaRow]
    new: list[ReplicaRow]

    @property
    def is_rolling(self) -> bool:
        return bool(self.old)

    @property
    def number(self) -> int:
        return self.state.revision.number

    @property
    def previous_number(self) -> int | None:
        """The newest revision that is replaced."""
        return max((row.replica.revision.number for row in self.old), default=None)

    @property
    def replaced(self) -> int:
        return min(self.state.wanted, sum(row.replica.state == R.READY for row in self.new))

    @property
    def by_revision(self) -> list[RevisionReplicas]:
        """Old revisions first."""
        numbers = sorted({row.replica.revision.number for row in self.old})
        old = [
            RevisionReplicas(
                number, False, _count_states([row for row in self.old if row.replica.revision.number == number])
            )
            for number in numbers
        ]
        return [*old, RevisionReplicas(self.number, True, _count_states(self.new))]

    @property
    def next_step(self) -> str:
        """One sentence: what it waits for now."""
        if hold := self.state.deployment.rollout_hold:
            return f"Held: {describe_reason(hold).sentence}"
        if starting := [row.short for row in self.new if row.replica.state in STARTING]:
            verb = "is" if len(starting) == 1 else "are"
            return f"Next: once {join_words(starting)} {verb} ready, an old replica drains."
        if draining := [row for row in self.old if row.replica.state == R.DRAINING]:
            return f"Next: {join_words([self._describe_drain(row) for row in draining])}."
        if stopping := [row.short for row in self.old if row.replica.state == R.STOPPING]:
            verb = "stops, its GPUs are" if len(stopping) == 1 else "stop, their GPUs are"
            return f"Next: {join_words(stopping)} {verb} released."
        if settling := [row.short for row in self.new if self._is_settling(row)]:
            stay = f"must stay ready for {settings.ROLLOUT_SETTLE_SECONDS:g} s"
            return f"Next: {join_words(settling)} {stay}, then an old replica drains."
        return f"Next: a replica of revision {self.number} starts."

    def _is_settling(self, row: ReplicaRow) -> bool:
        since = row.replica.ready_at or row.replica.state_since
        settle = timedelta(seconds=settings.ROLLOUT_SETTLE_SECONDS)
        return row.replica.state == R.READY and self.state.now - since < settle

    def _describe_drain(self, row: ReplicaRow) -> str:
        """r-7f3a finishes 3 requests, at most 0:38, then stops."""
        finishes = format_count(row.requests, "request") if row.requests else "its requests"
        since = row.replica.drain_started_at or self.state.now
        left = (since + timedelta(seconds=settings.DRAIN_SECONDS) - self.state.now).total_seconds()
        return f"{row.short} finishes {finishes}, at most {format_elapsed(left)}, then stops"


def find_rollout(state: CurrentState) -> RolloutProgress:
    wanted = state.revision.spec_hash
    old = [row for row in state.live if row.replica.revision.spec_hash != wanted]
    new = [row for row in state.live if row.replica.revision.spec_hash == wanted]
    return RolloutProgress(state, old, new)


def _count_states(rows: Sequence[ReplicaRow]) -> str:
    counts = Counter("" if row.replica.state in STARTING else row.replica.state for row in rows)
    return ", ".join(f"{counts[state]} {word}" for state, word in COUNTED_STATES if counts[state]) or "none yet"
