"""The only writer of observed and decided state.

Observed: replicas, their phases, `ready_at` of revisions. Decided: of a deployment, the columns in DECIDED. A pass
collects the changes of one transaction in a `Changes`; services, which write desired state, reset decided columns
through `initial_columns` and the `reset_…` functions. The columns of the work queue belong to `leases` and
`work_queue`.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import F

from deployments.causes import Cause
from deployments.codes import Reason, ReasonCode
from deployments.models import Deployment, DeploymentEvent, Replica, ReplicaPhase, Revision
from deployments.reconciler import leases
from deployments.states import AT_REST, ENDED, DeploymentStatus, ReplicaState, may_become

DECIDED = frozenset({
    "desired_replicas", "asleep_since", "woken_at", "tried_since", "rollout_hold", "failed_at", "cause",
    "pending_since", "pending_reason", "status", "status_since", "phase", "ready_at", "terminated_at",
    "revision", "version",  # by a rollback of the reconciler; otherwise by services
})  # fmt: skip
ROUTED = frozenset({"asleep_since", "revision", "failed_at"})
ROUTED_OF_REPLICA = frozenset({"state", "serving", "address"})


class LostRow(Exception):
    """A replica was changed by another writer since it was read."""


class Changes:
    """The changes of one transaction of a pass. Rows change in memory at once and in the database with `save`.

    The caller has locked the deployments. `save` writes in sets, and a replica only in the state in which it was read.
    Of a deployment only the changed columns are written, as services may change others meanwhile.
    After `save`, `changed` holds the ids of deployments with any change, `rerouted` of those whose routes may change.
    """

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.events: list[DeploymentEvent] = []
        self.changed: set[UUID] = set()
        self.rerouted: set[UUID] = set()
        self._deployments: dict[UUID, tuple[Deployment, dict[str, object]]] = {}
        self._replicas: dict[UUID, tuple[Replica, dict[str, object]]] = {}
        self._new_replicas: list[Replica] = []
        self._steps: dict[UUID, list[tuple[str, datetime]]] = defaultdict(list)
        self._separate: dict[UUID, dict[str, object]] = defaultdict(dict)
        self._ready_revisions: dict[UUID, datetime] = {}

    def set_deployment(self, row: Deployment, **values: object) -> None:
        """Set columns of DECIDED."""
        assert values.keys() <= DECIDED
        _, before = self._deployments.setdefault(row.pk, (row, {}))
        for name, value in values.items():
            before.setdefault(name, getattr(row, name))
            setattr(row, name, value)

    def set_replica(self, row: Replica, **values: object) -> None:
        """Set columns other than the state, the cause and the log."""
        _, before = self._replicas.setdefault(row.pk, (row, {"state": row.state}))
        for name, value in values.items():
            before.setdefault(name, getattr(row, name))
            setattr(row, name, value)

    def enter(self, row: Replica, state: ReplicaState, at: datetime) -> datetime:
        """Move to the next state; returns its time, max(previous, min(`at`, now)). Raises `ValueError`."""
        if not may_become(ReplicaState(row.state), state):
            raise ValueError(f"{row.name}: {row.state} does not become {state}")
        stamp = max(row.state_since, min(at, self.now))
        self.set_replica(row, state=state, state_since=stamp)
        self._steps[row.pk].append((state.value, stamp))
        return stamp

    def set_cause(self, row: Replica, cause: Cause) -> None:
        """It ends in FAILED, with this cause."""
        row.cause = cause.to_json()
        self._separate[row.pk]["cause"] = row.cause

    def set_log(self, row: Replica, text: str) -> None:
        if text:
            self._separate[row.pk]["log_tail"] = text

    def mark_revision_ready(self, revision_id: UUID, at: datetime) -> None:
        self._ready_revisions.setdefault(revision_id, at)

    def add_replicas(self, deployment: Deployment, count: int) -> list[Replica]:
        """New replicas of the desired revision, in REQUESTING_GPU; their names derive from their ids."""
        if deployment.revision is None:
            return []
        added = [
            Replica(
                id=(replica_id := uuid.uuid4()),
                organization_id=deployment.organization_id,
                deployment=deployment,
                revision=deployment.revision,
                cluster_id=deployment.endpoint.cluster_id,
                gpu_type_id=deployment.gpu_type_id,
                gpu_count=deployment.revision.spec["gpu_count"],
                name=f"r-{replica_id.hex}",
                state=ReplicaState.REQUESTING_GPU,
                state_since=self.now,
                created_at=self.now,
                start_requested_at=self.now,
            )
            for _ in range(count)
        ]
        self._new_replicas += added
        return added

    def restore_revision(self, deployment: Deployment, revision: Revision, cause: dict[str, Any]) -> None:
        """Make the configuration of `revision` the desired one, as a new revision; the present one failed."""
        failed = deployment.revision
        assert failed, "every deployment has its first revision from the start"
        Revision.objects.filter(pk=failed.pk).update(cause=cause)
        restored = Revision.objects.create(
            organization_id=deployment.organization_id,
            deployment=deployment,
            number=failed.number + 1,
            spec=revision.spec,
            spec_hash=revision.spec_hash,
            restores=revision.number,
            created_at=self.now,
        )
        self.set_deployment(deployment, revision=restored, version=deployment.version + 1)

    def save(self) -> None:
        """Write everything. Raises `LostRow`, after which the transaction must be rolled back."""
        self._save_deployments()
        self._save_replicas()
        for pk, values in self._separate.items():
            Replica.objects.filter(pk=pk).update(**values)
        for pk, at in self._ready_revisions.items():
            Revision.objects.filter(pk=pk, ready_at=None).update(ready_at=at)
        DeploymentEvent.objects.bulk_create(self.events)
        self.changed.update(event.deployment_id for event in self.events)

    def _save_deployments(self) -> None:
        groups: dict[frozenset[str], list[Deployment]] = defaultdict(list)
        for row, before in self._deployments.values():
            if names := frozenset(name for name, value in before.items() if getattr(row, name) != value):
                groups[names].append(row)
                self.changed.add(row.pk)
                if names & ROUTED:
                    self.rerouted.add(row.pk)
        for names, rows in groups.items():
            Deployment.objects.bulk_update(rows, sorted(names))

    def _save_replicas(self) -> None:
        groups: dict[object, list[Replica]] = defaultdict(list)
        columns: dict[object, set[str]] = defaultdict(set)
        for row, before in self._replicas.values():
            if names := {name for name, value in before.items() if getattr(row, name) != value}:
                groups[before["state"]].append(row)
                columns[before["state"]] |= names
                self.changed.add(row.deployment_id)
                if names & ROUTED_OF_REPLICA:
                    self.rerouted.add(row.deployment_id)
        for state, rows in groups.items():
            if Replica.objects.filter(state=state).bulk_update(rows, sorted(columns[state])) != len(rows):
                raise LostRow(f"replicas in {state}")
        Replica.objects.bulk_create(self._new_replicas)
        first_phases = [_phase(row, row.state, row.state_since) for row in self._new_replicas]
        ReplicaPhase.objects.bulk_create(first_phases + self._end_phases())
        ReplicaPhase.objects.filter(replica__in=list(self._steps), ended_at=F("started_at")).delete()

    def _end_phases(self) -> list[ReplicaPhase]:
        """End the open phases where the next state was entered; returns the new phases, unsaved.

        Phases are half-open intervals. Ended states are no phases.
        """
        open_phases = list(ReplicaPhase.objects.filter(replica__in=list(self._steps), ended_at=None))
        for phase in open_phases:
            phase.ended_at = self._steps[phase.replica_id][0][1]
        ReplicaPhase.objects.bulk_update(open_phases, ["ended_at"])
        added = []
        for pk, steps in self._steps.items():
            ends: list[datetime | None] = [at for _, at in steps[1:]]
            for (name, at), ended_at in zip(steps, [*ends, None], strict=True):
                if name not in ENDED:
                    added.append(_phase(self._replicas[pk][0], name, at, ended_at))
        return added


def _phase(row: Replica, name: str, started_at: datetime, ended_at: datetime | None = None) -> ReplicaPhase:
    return ReplicaPhase(
        organization_id=row.organization_id, replica=row, name=name, started_at=started_at, ended_at=ended_at
    )


# What services reset. The row is locked; its attributes and its columns change.


def declare_gone(replica: Replica, now: datetime) -> bool:
    """Whether it is UNKNOWN; the next pass ends it, unless the cluster shows it again."""
    return bool(Replica.objects.filter(pk=replica.pk, state=ReplicaState.UNKNOWN).update(gone_declared_at=now))


def initial_columns(desired_replicas: int, now: datetime) -> dict[str, Any]:
    """The decided columns of a new deployment."""
    return {"desired_replicas": desired_replicas, "status_since": now, "pending_since": now}


def reset_failures(row: Deployment, now: datetime) -> None:
    """Try again: earlier failures no longer count, and a deployment that has ended queues for GPUs."""
    values: dict[str, Any] = {"failed_at": None, "cause": None, "tried_since": now}
    if row.status in AT_REST:
        values |= {"status": DeploymentStatus.PENDING, "status_since": now, "phase": ""}
        values |= {"pending_since": now, "pending_reason": None}
    reason = Reason.from_json(row.pending_reason)
    if reason and reason.code == ReasonCode.BACK_OFF:
        values |= {"pending_reason": None}
    _reset(row, **values)


def reset_run(row: Deployment, now: datetime) -> None:
    """Start a deployment that has ended from the beginning, with the least number of replicas that its range allows."""
    reset_failures(row, now)
    _reset(
        row,
        terminated_at=None,
        asleep_since=None,
        woken_at=None,
        ready_at=None,
        rollout_hold=None,
        desired_replicas=max(1, row.min_replicas),
    )
    leases.forget_load(row)


def reset_desired_replicas(row: Deployment, lowest: int, highest: int) -> None:
    """Move the number into a new range; a sleeping deployment stays asleep."""
    lowest = 0 if row.asleep_since else lowest
    _reset(row, desired_replicas=max(lowest, min(row.desired_replicas, highest)))


def reset_for_termination(row: Deployment, now: datetime) -> None:
    """Show the termination at once, and leave the queue for GPUs."""
    _reset(
        row,
        status=DeploymentStatus.TERMINATING,
        status_since=now,
        phase="",
        pending_since=None,
        pending_reason=None,
    )


def _reset(row: Deployment, **values: Any) -> None:
    assert values.keys() <= DECIDED
    for name, value in values.items():
        setattr(row, name, value)
    row.save(update_fields=list(values))


def delete_replicas(ids: Sequence[UUID]) -> None:
    """Delete ended replicas and their phases."""
    Replica.objects.filter(pk__in=ids, state__in=ENDED).delete()


def delete_logs(ids: Sequence[UUID]) -> None:
    """Delete the kept logs of ended replicas."""
    Replica.objects.filter(pk__in=ids, state__in=ENDED).update(log_tail="")
