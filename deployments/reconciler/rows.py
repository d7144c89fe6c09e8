"""The one writer of replica rows and their history.

A `Journal` collects what a transaction changes and writes it set-based and guarded: a row is written only from the
state in which it was read. Phases are half-open intervals; one that would be empty is not kept.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from django.db.models import F

from deployments.causes import Cause
from deployments.models import DeploymentEvent, Replica, ReplicaPhase
from deployments.states import ENDED, ReplicaState, may_become

FIELDS = (
    "state", "state_since", "serving", "unhealthy_since", "stop_reason", "node", "address", "gpu_indices",
    "bytes_done", "bytes_total", "restarts", "ready_at", "drain_started_at", "drain_epoch", "stop_requested_at",
    "released_at",
)  # fmt: skip
ROUTED = ("state", "serving", "address")


class LostRow(Exception):
    """Somebody else changed a replica in between: look again."""


class Journal:
    """Changes of replicas in memory, then in one `save` within the caller's transaction."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.events: list[DeploymentEvent] = []
        self.touched: set[UUID] = set()
        self.rerouted: set[UUID] = set()
        self._old: dict[UUID, tuple[Replica, dict[str, object]]] = {}
        self._steps: dict[UUID, list[tuple[str, datetime]]] = defaultdict(list)
        self._logs: dict[UUID, str] = {}
        self._causes: dict[UUID, dict[str, str]] = {}

    def change(self, replica: Replica, **values: object) -> None:
        """Set columns other than the state."""
        self._old.setdefault(replica.pk, (replica, {name: getattr(replica, name) for name in FIELDS}))
        for name, value in values.items():
            setattr(replica, name, value)

    def enter(self, replica: Replica, state: ReplicaState, at: datetime) -> datetime:
        """Take an edge of the state machine; returns the stamp, which is max(previous, min(`at`, now))."""
        if not may_become(ReplicaState(replica.state), state):
            raise ValueError(f"{replica.name}: {replica.state} does not become {state}")
        stamp = max(replica.state_since, min(at, self.now))
        self.change(replica, state=state, state_since=stamp)
        self._steps[replica.pk].append((state.value, stamp))
        return stamp

    def keep_log(self, replica: Replica, text: str) -> None:
        if text:
            self._logs[replica.pk] = text

    def blame(self, replica: Replica, cause: Cause) -> None:
        """Its end will be FAILED, for this cause."""
        replica.cause = self._causes[replica.pk] = asdict(cause)

    def save(self) -> None:
        """Write everything; raises `LostRow` when a row is no longer as it was read."""
        groups: dict[object, list[Replica]] = defaultdict(list)
        for replica, old in self._old.values():
            if changed := [name for name in FIELDS if getattr(replica, name) != old[name]]:
                groups[old["state"]].append(replica)
                self.touched.add(replica.deployment_id)
                if any(name in ROUTED for name in changed):
                    self.rerouted.add(replica.deployment_id)
        for state, rows in groups.items():
            if Replica.objects.filter(state=state).bulk_update(rows, FIELDS) != len(rows):
                raise LostRow(f"replicas in {state}")
        for pk, text in self._logs.items():
            Replica.objects.filter(pk=pk).update(log_tail=text)
        for pk, cause in self._causes.items():
            Replica.objects.filter(pk=pk).update(cause=cause)
        self._save_phases()
        DeploymentEvent.objects.bulk_create(self.events)
        self.touched.update(event.deployment_id for event in self.events)

    def _save_phases(self) -> None:
        ids = [pk for pk, steps in self._steps.items() if steps]
        if not ids:
            return
        open_phases = {one.replica_id: one for one in ReplicaPhase.objects.filter(replica__in=ids, ended_at=None)}
        for phase in open_phases.values():
            phase.ended_at = self._steps[phase.replica_id][0][1]
        ReplicaPhase.objects.bulk_update(open_phases.values(), ["ended_at"])
        new = [phase for pk in ids for phase in _phases(self._old[pk][0], self._steps[pk])]
        ReplicaPhase.objects.bulk_create(new)
        ReplicaPhase.objects.filter(replica__in=ids, ended_at=F("started_at")).delete()


def _phases(replica: Replica, steps: list[tuple[str, datetime]]) -> list[ReplicaPhase]:
    """A phase for each state entered, closed where the next one begins; ended states are no phases."""
    ends: list[datetime | None] = [at for _, at in steps[1:]]
    return [
        ReplicaPhase(
            organization_id=replica.organization_id, replica=replica, name=name, started_at=at, ended_at=ended_at
        )
        for (name, at), ended_at in zip(steps, [*ends, None], strict=True)
        if name not in ENDED
    ]
