"""What all writes of desired state share: the row, locked; a revision more; whom to tell afterwards."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Max

from accounts.models import User
from deployments import notifications, queries
from deployments.models import Deployment, Revision
from deployments.routing import publish, wakeups
from deployments.specs import Autoscaling, RevisionSpec
from deployments.states import DeploymentStatus

# Cleared whenever somebody asks to try again: failures before this count no more.
UNFAILED: dict[str, Any] = {"failed_at": None, "cause": None}


class VersionConflict(Exception):
    """Somebody changed the deployment since: it is at version `current`, by whom and when."""

    def __init__(self, current: int, by: str, at: datetime) -> None:
        super().__init__(f"{by} changed the deployment at {at:%Y-%m-%d %H:%M:%S} UTC; it is at version {current} now.")
        self.current, self.by, self.at = current, by, at


class NotNow(Exception):
    """The deployment's present status does not allow this; the message says what does."""


def lock(deployment: Deployment, expected_version: int | None = None) -> Deployment:
    """The row as it is now, locked until the transaction ends. Raises `VersionConflict`, or `DoesNotExist` for what
    was deleted meanwhile."""
    # No joins: who waited for the lock reads this row anew, but what it joins as of before.
    row = Deployment.objects.select_for_update().get(pk=deployment.pk, deleted_at=None)
    if expected_version is not None and row.version != expected_version:
        raise VersionConflict(row.version, *queries.last_change(row))
    return row


def write(row: Deployment, now: datetime, **values: Any) -> None:
    """Write a change that people made. A pass of the reconciler that is under way decided from what was wanted
    before: its lease ends, so it writes nothing any more, and the next one begins with what it left."""
    values |= {"version": row.version + 1, "updated_at": now, "lease_token": None, "lease_expires_at": None}
    for name, value in values.items():
        setattr(row, name, value)
    row.save(update_fields=list(values))
    announce(row, now)


def as_waiting(row: Deployment, now: datetime) -> dict[str, Any]:
    """The columns of a deployment that is tried again: no failure counts any more, and what has ended waits for its
    turn. The next pass derives the status from what is there."""
    values = {**UNFAILED, "tried_since": now}
    if row.status not in (DeploymentStatus.FAILED, DeploymentStatus.TERMINATED):
        return values
    shown = {"status": DeploymentStatus.PENDING, "status_since": now, "phase": ""}
    return {**values, **shown, "pending_since": now, "pending_reason": ""}


def add_revision(
    deployment: Deployment, spec: RevisionSpec, by: User | None, now: datetime, restores: int | None = None
) -> Revision:
    highest = deployment.revisions.aggregate(number=Max("number"))["number"] or 0
    return Revision.objects.create(
        organization_id=deployment.organization_id,
        deployment=deployment,
        number=highest + 1,
        spec=spec.to_json(),
        spec_hash=spec.spec_hash,
        restores=restores,
        created_by=by,
        created_at=now,
    )


def range_columns(chosen: Autoscaling) -> dict[str, Any]:
    return {
        "autoscaling_enabled": chosen.enabled,
        "min_replicas": chosen.min_replicas,
        "max_replicas": chosen.max_replicas,
        "scale_down_delay_seconds": chosen.scale_down_delay_seconds,
        "sleep_after_seconds": chosen.sleep_after_seconds,
    }


def announce(deployment: Deployment, now: datetime) -> None:
    """Workers, gateways and open pages, once the transaction is committed."""
    wakeups.make_due([deployment.pk], now)
    transaction.on_commit(lambda: publish.publish([deployment.pk]), robust=True)
    transaction.on_commit(lambda: notifications.notify_pages([deployment]), robust=True)
