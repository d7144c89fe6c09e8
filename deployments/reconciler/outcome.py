"""The last transaction of a pass: what came of the calls, what to tell people, when to look again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from deployments import events
from deployments.models import Deployment, DeploymentEvent, Replica
from deployments.reconciler import leases, plan, problems
from deployments.reconciler.observe import Batch, deployment_view, replica_view
from deployments.reconciler.rows import Journal
from deployments.reconciler.snapshot import ReplicaView
from deployments.states import DeploymentStatus, ReplicaState

UNREACHABLE = "The cluster cannot be reached; it is asked again every few seconds"
SHOWN = ("status", "status_since", "phase", "pending_since", "pending_reason", "terminated_at")


def write(batch: Batch, journal: Journal, refused: Mapping[UUID, str]) -> set[UUID]:
    """Returns the deployments of which something shows that did not show before."""
    fresh = {row.pk: row for row in leases.held(batch.lease).select_related("revision", "endpoint", "gpu_type")}
    for pk, reason in refused.items():
        if batch.replicas[pk].deployment_id in fresh:
            _refuse(batch.replicas[pk], reason, journal)
    replicas: dict[UUID, list[ReplicaView]] = defaultdict(list)
    for replica in batch.replicas.values():
        replicas[replica.deployment_id].append(replica_view(replica))
    before = {pk: _shown(row) for pk, row in fresh.items()}
    due = {pk: _conclude(batch, row, replicas[pk], journal) for pk, row in fresh.items()}
    changed = [row for pk, row in fresh.items() if _shown(row) != before[pk]]
    journal.save()
    if changed:
        Deployment.objects.filter(lease_token=batch.lease.token).bulk_update(changed, SHOWN)
    leases.release(batch.lease, due)
    return {row.pk for row in changed} | journal.touched


def _refuse(replica: Replica, reason: str, journal: Journal) -> None:
    """The cluster will never start it: its end begins, and is confirmed like every other."""
    journal.enter(replica, ReplicaState.STOPPING, journal.now)
    journal.change(replica, stop_reason="failed", stop_requested_at=journal.now)
    journal.blame(replica, problems.refused(reason))


def _conclude(batch: Batch, row: Deployment, replicas: Sequence[ReplicaView], journal: Journal) -> leases.Due:
    """Derive the status from the row as it is now, with what people asked for in between."""
    result = plan.conclude(deployment_view(row), replicas, batch.policy, batch.now)
    if row.status != result.status:
        journal.events.extend(_news(row, result.status, replicas, batch.now))
        row.status, row.status_since = result.status, batch.now
        if result.status == DeploymentStatus.TERMINATED:
            row.terminated_at = batch.now
    reachable = batch.view_of(row).listing.reachable
    row.phase = result.phase
    row.pending_reason = result.reason if reachable else UNREACHABLE
    if row.terminate_requested_at is not None or sum(one.is_wanted for one in replicas) >= row.desired_replicas:
        row.pending_since = None
    due = leases.due_after(batch.lease, row, result.next_due_at)
    return leases.Due(due, batch.now if reachable else row.observed_at)


def _news(
    row: Deployment, new: DeploymentStatus, replicas: Sequence[ReplicaView], now: datetime
) -> list[DeploymentEvent]:
    """What a change of status is worth saying. An update whose replicas fail starts once, however often they try, and
    one that was taken back is not done."""
    if new is DeploymentStatus.TERMINATED:
        return [] if row.deleted_at else [events.terminated(row, now)]
    if DeploymentStatus.ROLLING not in (row.status, new):
        return []
    started = events.rollout_started(row, now)
    is_known = DeploymentEvent.objects.filter(deployment=row, kind=started.kind, data=started.data).exists()
    if new is DeploymentStatus.ROLLING:
        return [] if is_known else [started]
    live = {one.spec_hash for one in replicas if one.is_live}
    is_done = row.revision is not None and live == {row.revision.spec_hash}
    return [events.rollout_done(row, now)] if is_known and is_done else []


def _shown(row: Deployment) -> dict[str, object]:
    return {name: getattr(row, name) for name in SHOWN}
