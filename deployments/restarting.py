"""Trying again: what has failed or waits in its back-off, and what has ended."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from accounts.models import User
from deployments import events, queries, writing
from deployments.models import Deployment
from deployments.states import DeploymentStatus
from deployments.writing import NotNow

REDEPLOYABLE = (DeploymentStatus.TERMINATED, DeploymentStatus.FAILED)


@transaction.atomic
def retry(deployment: Deployment, *, expected_version: int | None = None, by: User | None, now: datetime) -> None:
    """Start anew at once; failures so far count no more. Raises `NotNow` unless it has failed, or waits in the
    back-off after a failure."""
    row = writing.locked(deployment, expected_version)
    if row.terminate_requested_at is not None:
        raise NotNow(_ended(row) or "The deployment is TERMINATED. Redeploy it to start it again.")
    if row.failed_at is None and not queries.waits_after_failure(row, now):
        raise NotNow(f"The deployment is {row.status}: nothing of it has failed, so there is nothing to retry.")
    writing.write(row, now, **writing.as_waiting(row, now))
    events.retried(row, by, now).save()
    deployment.refresh_from_db()


@transaction.atomic
def redeploy(deployment: Deployment, *, expected_version: int | None = None, by: User | None, now: datetime) -> None:
    """Start what is TERMINATED or FAILED with its present configuration. Raises `NotNow` for everything else."""
    row = writing.locked(deployment, expected_version)
    if row.status not in REDEPLOYABLE:
        raise NotNow(
            _ended(row)
            or f"The deployment is {row.status}. Only what is TERMINATED or FAILED is redeployed; edit it to change it."
        )
    writing.write(
        row,
        now,
        **writing.as_waiting(row, now),
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
