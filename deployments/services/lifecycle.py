"""Trying again: what has failed or waits in its back-off, and what has ended."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import F

from accounts.models import User
from deployments import events, notifications, queries
from deployments.models import Deployment
from deployments.routing import publish
from deployments.services import desired_state
from deployments.services.desired_state import NotNow
from deployments.states import DeploymentStatus

REDEPLOYABLE = DELETABLE = (DeploymentStatus.TERMINATED, DeploymentStatus.FAILED)


class NotEnded(Exception):
    """Only what is TERMINATED or FAILED can be deleted."""

    def __init__(self, status: str) -> None:
        super().__init__(f"The deployment is {status}. Terminate it, wait until it is TERMINATED, then delete it.")
        self.status = status


@transaction.atomic
def retry(deployment: Deployment, *, expected_version: int | None = None, by: User | None, now: datetime) -> None:
    """Start anew at once; failures so far count no more. Raises `NotNow` unless it has failed, or waits in the
    back-off after a failure."""
    row = desired_state.lock(deployment, expected_version)
    if row.terminate_requested_at is not None:
        raise NotNow(_ended(row) or "The deployment is TERMINATED. Redeploy it to start it again.")
    if row.failed_at is None and not queries.waits_after_failure(row, now):
        raise NotNow(f"The deployment is {row.status}: nothing of it has failed, so there is nothing to retry.")
    desired_state.write(row, now, **desired_state.as_waiting(row, now))
    events.retried(row, by, now).save()
    deployment.refresh_from_db()


@transaction.atomic
def redeploy(deployment: Deployment, *, expected_version: int | None = None, by: User | None, now: datetime) -> None:
    """Start what is TERMINATED or FAILED with its present configuration. Raises `NotNow` for everything else."""
    row = desired_state.lock(deployment, expected_version)
    if row.status not in REDEPLOYABLE:
        raise NotNow(
            _ended(row)
            or f"The deployment is {row.status}. Only what is TERMINATED or FAILED is redeployed; edit it to change it."
        )
    desired_state.write(
        row,
        now,
        **desired_state.as_waiting(row, now),
        terminate_requested_at=None,
        terminated_by=None,
        terminated_at=None,
        asleep_since=None,
        woken_at=None,
        ready_at=None,
        rollout_hold="",
        autoscaler={},
        desired_replicas=max(1, row.min_replicas),
    )
    events.redeployed(row, by, now).save()
    deployment.refresh_from_db()


def _ended(row: Deployment) -> str:
    if row.status == DeploymentStatus.TERMINATED or row.terminate_requested_at is None:
        return ""
    return "The deployment is terminating. Wait until it is TERMINATED, then redeploy it."


@transaction.atomic
def terminate(deployment: Deployment, *, by: User | None, now: datetime) -> None:
    """Ask for the end: replicas drain and stop, TERMINATED follows once the cluster confirms. Asking twice is once."""
    asked = Deployment.objects.filter(pk=deployment.pk, terminate_requested_at=None, deleted_at=None).update(
        terminate_requested_at=now,
        terminated_by=by,
        version=F("version") + 1,
        updated_at=now,
        status=DeploymentStatus.TERMINATING,
        status_since=now,
        phase="",
        pending_since=None,
        pending_reason="",
    )
    if asked:
        events.terminate_requested(deployment, by, now).save()
        desired_state.announce(deployment, now)
    deployment.refresh_from_db()


@transaction.atomic
def delete(deployment: Deployment, *, by: User | None, now: datetime) -> None:
    """Take it out of every list; its facts stay. Raises `NotEnded` unless it is TERMINATED or FAILED."""
    row = Deployment.objects.select_for_update().get(pk=deployment.pk)
    if row.deleted_at is not None:
        return
    if row.status not in DELETABLE:
        raise NotEnded(row.status)
    Deployment.objects.filter(pk=row.pk).update(deleted_at=now, updated_at=now, next_due_at=now)
    events.deleted(row, by, now).save()
    transaction.on_commit(lambda: publish.publish([row.pk]), robust=True)
    transaction.on_commit(lambda: notifications.notify_pages([row]), robust=True)
