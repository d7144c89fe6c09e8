"""What all services share: the locked row, a change to it, a new revision, and the announcement after the commit."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Max

from accounts.models import User
from deployments import queries
from deployments.config.configuration import Fixed, Range
from deployments.config.deployment_spec import RevisionSpec
from deployments.models import Deployment, Revision
from deployments.notifications import notify_pages
from deployments.reconciler import leases
from deployments.routing.publish import publish
from deployments.work_queue import make_due


class VersionConflict(Exception):
    """Somebody changed the deployment since: it is at version `current`, by whom and when."""

    def __init__(self, current: int, by: str, at: datetime) -> None:
        super().__init__(f"{by} changed the deployment at {at:%Y-%m-%d %H:%M:%S} UTC; it is at version {current} now.")
        self.current, self.by, self.at = current, by, at


class NotNow(Exception):
    """The deployment's present status does not allow this; the message says what does."""


def lock(deployment: Deployment, expected_version: int | None = None) -> Deployment:
    """The current row, locked until the transaction ends.

    Raises `VersionConflict`, or `DoesNotExist` for a deployment that was deleted.
    """
    # No joins: after waiting for the lock this row is read anew, but joined rows are not.
    row = Deployment.objects.select_for_update().get(pk=deployment.pk, deleted_at=None)
    if expected_version is not None and row.version != expected_version:
        raise VersionConflict(row.version, *queries.last_change(row))
    return row


def change(row: Deployment, now: datetime, **values: Any) -> None:
    """Write columns of desired state, with a new version, and announce it.

    The lease of a pass under way ends, as it decided on the previous desired state; the next pass decides anew.
    """
    leases.revoke(row)
    write(row, now, **values)


def write(row: Deployment, now: datetime, **values: Any) -> None:
    """Like `change`, but a pass under way completes what it has begun."""
    values |= {"version": row.version + 1, "updated_at": now}
    for name, value in values.items():
        setattr(row, name, value)
    row.save(update_fields=list(values))
    announce(row, now)


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


def range_columns(autoscaling: Range | Fixed) -> dict[str, Any]:
    columns = {
        "autoscaling_enabled": autoscaling.enabled,
        "min_replicas": autoscaling.min_replicas,
        "max_replicas": autoscaling.max_replicas,
    }
    if isinstance(autoscaling, Fixed):
        return columns
    return {
        **columns,
        "scale_down_delay_seconds": autoscaling.scale_down_delay_seconds,
        "sleep_after_seconds": autoscaling.sleep_after_seconds,
    }


def announce(deployment: Deployment, now: datetime) -> None:
    """Make it due, and after the commit publish its routes and notify open pages."""
    make_due([deployment.pk], now)
    transaction.on_commit(lambda: publish([deployment.pk]), robust=True)
    transaction.on_commit(lambda: notify_pages([deployment]), robust=True)
