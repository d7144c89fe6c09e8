"""The last transaction of a pass: what came of the calls, what to tell people, when to look again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from uuid import UUID

from deployments import events
from deployments.models import Deployment, Replica
from deployments.reconciler import leases, plan, problems
from deployments.reconciler.observe import Batch, deployment_view, replica_view
from deployments.reconciler.rows import Journal
from deployments.reconciler.snapshot import ReplicaView
from deployments.states import DeploymentStatus, ReplicaState

UNREACHABLE = "The cluster cannot be reached; it is asked again every few seconds"
SHOWN = ("status", "status_since", "phase", "pending_since", "pending_reason", "failed_at", "ready_at", "terminated_at")


def write(batch: Batch, journal: Journal, refused: Mapping[UUID, str]) -> set[UUID]:
    """Returns the deployments of which something shows that did not show before."""
    fresh = {row.pk: row for row in leases.held(batch.lease)}
    for pk, reason in refused.items():
        if batch.replicas[pk].deployment_id in fresh:
            _refuse(batch.replicas[pk], reason, journal)
    replicas: dict[UUID, list[ReplicaView]] = defaultdict(list)
    for replica in batch.replicas.values():
        replicas[replica.deployment_id].append(replica_view(replica))
    changed: list[Deployment] = []
    due: dict[UUID, leases.Due] = {}
    for pk, row in fresh.items():
        due[pk] = _conclude(batch, row, replicas[pk], journal)
        if _shows_a_change(row, batch.deployments[pk]):
            changed.append(batch.deployments[pk])
    journal.save()
    if changed:
        Deployment.objects.filter(lease_token=batch.lease.token).bulk_update(changed, SHOWN)
    for row in changed:
        if row.cause is not None and fresh[row.pk].cause is None:
            Deployment.objects.filter(pk=row.pk).update(cause=row.cause)
    leases.release(batch.lease, due)
    return {row.pk for row in changed} | journal.touched


def _refuse(replica: Replica, reason: str, journal: Journal) -> None:
    """The cluster will never start it: its end begins, and is confirmed like every other."""
    journal.enter(replica, ReplicaState.STOPPING, journal.now)
    journal.change(replica, stop_reason="failed", stop_requested_at=journal.now)
    journal.blame(replica, problems.refused(reason))


def _conclude(batch: Batch, fresh: Deployment, replicas: Sequence[ReplicaView], journal: Journal) -> leases.Due:
    """Derive the status from the rows as they are now, with what people asked for in between."""
    row = batch.deployments[fresh.pk]
    row.terminate_requested_at, row.deleted_at = fresh.terminate_requested_at, fresh.deleted_at
    row.status, row.status_since = fresh.status, fresh.status_since
    row.desired_replicas = fresh.desired_replicas
    result = plan.conclude(deployment_view(row), replicas, batch.policy, batch.now)
    if row.status != result.status:
        row.status, row.status_since = result.status, batch.now
        if result.status == DeploymentStatus.TERMINATED:
            row.terminated_at = batch.now
            if row.deleted_at is None:
                journal.events.append(events.terminated(row, batch.now))
    reachable = batch.view_of(row).listing.reachable
    row.phase = result.phase
    row.pending_reason = result.reason if reachable else UNREACHABLE
    if row.terminate_requested_at is not None or sum(one.is_wanted for one in replicas) >= row.desired_replicas:
        row.pending_since = None
    due = leases.due_after(batch.lease, fresh, result.next_due_at)
    return leases.Due(due, batch.now if reachable else fresh.observed_at)


def _shows_a_change(before: Deployment, after: Deployment) -> bool:
    return any(getattr(before, name) != getattr(after, name) for name in SHOWN)
