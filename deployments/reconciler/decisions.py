"""Writes what a pass decided about a deployment as a whole: scaled, asleep, woken, rolled back, given up.

Each decision stands only if nobody changed the deployment since it was read (`version`); else the next pass decides
anew. `COLUMNS` are written here and, when people act, by the services.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from deployments import events
from deployments.models import Deployment, Replica, Revision
from deployments.reconciler.actions import FallAsleep, GiveUp, Hold, OfDeployment, Remember, RollBack, Scale, Wake
from deployments.reconciler.observe import Batch
from deployments.reconciler.rows import Journal
from deployments.states import ReplicaState

COLUMNS = (
    "desired_replicas", "autoscaler", "asleep_since", "woken_at", "tried_since", "rollout_hold", "revision", "version",
    "failed_at", "cause", "pending_since", "pending_reason",
)  # fmt: skip


class Decisions:
    """Changes of the deployments of one batch, in memory until `save`."""

    def __init__(self, batch: Batch, journal: Journal, slept: Iterable[UUID]) -> None:
        self.batch = batch
        self.journal = journal
        self._slept = set(slept)
        self._before = {pk: _values(row) for pk, row in batch.deployments.items()}

    def write(self, row: Deployment, action: OfDeployment) -> None:
        match action:
            case Scale():
                self.journal.events.append(events.scaled(row, action, self.batch.now))
                row.desired_replicas = action.replicas
            case Remember():
                row.autoscaler = dict(action.memory)
            case FallAsleep():
                self._fall_asleep(row, action)
            case Wake():
                self._wake(row, action)
            case Hold():
                self._hold(row, action)
            case RollBack():
                self._roll_back(row, action)
            case GiveUp():
                self._give_up(row, action)

    def save(self) -> set[UUID]:
        """Write what differs, guarded by the lease; returns the ids of deployments whose routes may have changed."""
        changed = [row for pk, row in self.batch.deployments.items() if _values(row) != self._before[pk]]
        if changed:
            Deployment.objects.filter(lease_token=self.batch.lease.token).bulk_update(changed, COLUMNS)
        routed = ("asleep_since", "revision", "failed_at")
        return {row.pk for row in changed if any(getattr(row, name) != self._before[row.pk][name] for name in routed)}

    def _fall_asleep(self, row: Deployment, action: FallAsleep) -> None:
        if row.pk in self._slept:
            row.asleep_since, row.woken_at, row.desired_replicas = self.batch.now, None, 0
            row.pending_since, row.pending_reason, row.rollout_hold = None, "", ""
            self.journal.events.append(events.fell_asleep(row, action.idle_seconds, self.batch.now))

    def _wake(self, row: Deployment, action: Wake) -> None:
        row.asleep_since, row.woken_at, row.desired_replicas = None, self.batch.now, action.replicas
        self.journal.events.append(events.woken(row, action, self.batch.now))

    def _hold(self, row: Deployment, action: Hold) -> None:
        row.rollout_hold = action.reason[:300]
        if action.reason:
            self.journal.events.append(events.rollout_held(row, action.reason, self.batch.now))

    def _roll_back(self, row: Deployment, action: RollBack) -> None:
        """A new revision with the configuration that worked; the failed one keeps its cause."""
        assert row.revision
        failed, good = row.revision, Revision.objects.get(pk=action.revision_id)
        cause = self._latest_cause(row)
        Revision.objects.filter(pk=failed.pk).update(cause=cause)
        row.revision = Revision.objects.create(
            organization_id=row.organization_id,
            deployment=row,
            number=failed.number + 1,
            spec=good.spec,
            spec_hash=good.spec_hash,
            restores=good.number,
            created_at=self.batch.now,
        )
        row.version += 1
        row.tried_since, row.rollout_hold = self.batch.now, ""
        self.journal.events.append(events.rolled_back_by_itself(row, failed.number, cause, self.batch.now))

    def _give_up(self, row: Deployment, action: GiveUp) -> None:
        row.failed_at, row.cause = self.batch.now, self._latest_cause(row)
        row.pending_since, row.pending_reason, row.rollout_hold = None, "", ""
        self.journal.events.append(events.failed(row, row.cause or {}, action.failures, self.batch.now))

    def _latest_cause(self, row: Deployment) -> dict[str, str]:
        mine = [one for one in self.batch.replicas.values() if one.deployment_id == row.pk and _blames(row, one)]
        latest = max(mine, key=lambda one: one.released_at or one.created_at)
        return dict(latest.cause or {})


def _blames(row: Deployment, replica: Replica) -> bool:
    """Whether it is one of the failures that count against the wanted revision."""
    has_failed = replica.state == ReplicaState.FAILED and replica.released_at is not None
    return has_failed and row.revision is not None and replica.revision.spec_hash == row.revision.spec_hash


def _values(row: Deployment) -> dict[str, object]:
    return {name: getattr(row, name) for name in COLUMNS}
