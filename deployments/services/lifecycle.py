"""Retries, redeploys, terminates and deletes deployments."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from accounts.models import User
from deployments import events, queries
from deployments.models import Deployment, Replica
from deployments.notifications import notify_pages
from deployments.reconciler import state_writer
from deployments.routing.publish import publish
from deployments.services import desired_state_writer
from deployments.services.desired_state_writer import NotNow
from deployments.states import AT_REST, LIVE, DeploymentStatus, ReplicaState
from deployments.work_queue import make_due

TERMINATING = "The deployment is terminating. Wait until it is TERMINATED, then redeploy it."


TERMINATE_FIRST = "Terminate it, wait until it is TERMINATED, then delete it."


class NotEnded(Exception):
    """Only what is TERMINATED, or FAILED without replicas, can be deleted: nobody would find any more what may still
    run, and it would keep its GPUs."""


@transaction.atomic
def retry(deployment: Deployment, *, expected_version: int | None = None, by: User | None, now: datetime) -> None:
    """Start again at once; earlier failures no longer count.

    Raises `VersionConflict`, and `NotNow` unless it has failed or a start waits after a failure.
    """
    row = desired_state_writer.lock(deployment, expected_version)
    if row.status == DeploymentStatus.TERMINATED and row.terminate_requested_at is not None:
        raise NotNow("The deployment is TERMINATED. Redeploy it to start it again.")
    if row.terminate_requested_at is not None:
        raise NotNow(TERMINATING)
    if row.failed_at is None and not queries.read_backoff(row, now).delays_start:
        raise NotNow(f"The deployment is {row.status}: no start waits after a failure, so there is nothing to retry.")
    state_writer.reset_failures(row, now)
    desired_state_writer.change(row, now)
    events.retried(row, by, now).save()
    deployment.refresh_from_db()


@transaction.atomic
def redeploy(deployment: Deployment, *, expected_version: int | None = None, by: User | None, now: datetime) -> None:
    """Start a deployment that is TERMINATED or FAILED with its present configuration.

    Raises `VersionConflict`, and `NotNow` for any other status.
    """
    row = desired_state_writer.lock(deployment, expected_version)
    if row.status not in AT_REST:
        if row.terminate_requested_at is not None:
            raise NotNow(TERMINATING)
        raise NotNow(
            f"The deployment is {row.status}. Only what is TERMINATED or FAILED is redeployed; edit it to change it."
        )
    state_writer.reset_run(row, now)
    desired_state_writer.change(row, now, terminate_requested_at=None, terminated_by=None)
    events.redeployed(row, by, now).save()
    deployment.refresh_from_db()


@transaction.atomic
def terminate(deployment: Deployment, *, by: User | None, now: datetime) -> None:
    """Request the end: replicas drain and stop; TERMINATED follows once the cluster confirms it. Idempotent."""
    row = Deployment.objects.select_for_update().get(pk=deployment.pk)
    if row.terminate_requested_at is None and row.deleted_at is None:
        state_writer.reset_for_termination(row, now)
        desired_state_writer.write(row, now, terminate_requested_at=now, terminated_by=by)
        events.terminate_requested(row, by, now).save()
    deployment.refresh_from_db()


def check_deletable(deployment: Deployment) -> None:
    """Raises `NotEnded` unless it is TERMINATED, or FAILED and without live replicas."""
    if deployment.status not in AT_REST:
        raise NotEnded(f"The deployment is {deployment.status}. {TERMINATE_FIRST}")
    left = set(deployment.replicas.filter(state__in=LIVE).values_list("state", flat=True))
    if ReplicaState.UNKNOWN in left:
        raise NotEnded("The deployment has a replica that is UNKNOWN and may still run. An operator declares it gone.")
    if left:
        raise NotEnded(
            f"The deployment is {deployment.status}, but not all of its replicas have stopped. {TERMINATE_FIRST}"
        )


@transaction.atomic
def delete(deployment: Deployment, *, by: User | None, now: datetime) -> None:
    """Remove it from every list; its rows stay. Raises `NotEnded`. Idempotent."""
    row = Deployment.objects.select_for_update().get(pk=deployment.pk)
    if row.deleted_at is not None:
        return
    check_deletable(row)
    make_due([row.pk], now)
    Deployment.objects.filter(pk=row.pk).update(deleted_at=now, updated_at=now)
    events.deleted(row, by, now).save()
    transaction.on_commit(lambda: publish([row.pk]), robust=True)
    transaction.on_commit(lambda: notify_pages([row]), robust=True)


@transaction.atomic
def declare_replica_gone(replica: Replica, *, by: User | None, now: datetime) -> None:
    """An operator has made sure that an UNKNOWN replica no longer runs: its GPUs are released, and it is replaced.

    The next pass ends it, with the cause `vanished`, unless the cluster shows it again. Idempotent. Raises `NotNow` for
    a replica in any other state.
    """
    row = desired_state_writer.lock(replica.deployment)
    current = row.replicas.get(pk=replica.pk)
    if current.gone_declared_at is not None:
        return
    if not state_writer.declare_gone(current, now):
        raise NotNow(f"The replica is {current.state}. Only one that is UNKNOWN can be declared gone.")
    events.replica_declared_gone(row, current, by, now).save()
    desired_state_writer.announce(row, now)
