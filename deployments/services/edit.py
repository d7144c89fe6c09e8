"""Changes of a deployment that exists: what needs a restart is a new revision, everything else acts at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from accounts.models import User
from deployments import bodies, diffs, events, queries
from deployments.diffs import Change
from deployments.fields import FieldError
from deployments.models import Deployment, Revision
from deployments.services import desired_state
from deployments.services.desired_state import NotNow
from deployments.specs import DeploymentSpec, RevisionSpec
from deployments.states import DeploymentStatus

FIXED = {
    "name": "Callers use the name, so it never changes. Clone the deployment under another name instead.",
    "endpoint": "A deployment stays on its endpoint. Clone it onto the other endpoint instead.",
    "gpu.type": "A deployment keeps its GPU type. Clone it with the other type instead.",
}


class Immutable(Exception):
    """The edit names another value for what never changes; `errors` says where and what to do instead."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = list(errors)


class UnknownRevision(Exception):
    """The deployment has no revision of this number."""

    def __init__(self, number: int, highest: int) -> None:
        message = f"There is no revision {number}; there are 1 to {highest}."
        super().__init__(message)
        self.error = FieldError("revision", "unknown_revision", message)


@dataclass(frozen=True)
class Edited:
    """`deployment` as it is now, the new `revision` where one was needed, and what differs from before."""

    deployment: Deployment
    revision: Revision | None
    changes: tuple[Change, ...]


@transaction.atomic
def edit(
    deployment: Deployment, *, spec: DeploymentSpec, expected_version: int | None, by: User | None, now: datetime
) -> Edited:
    """Make `spec` the configuration. Nothing new changes nothing, not even the version.

    Raises `VersionConflict` when the deployment is no longer at `expected_version` (None: the last write wins),
    `Immutable`, and `NotNow` while it is terminating. What is TERMINATED may be edited; redeploying uses it.
    """
    row = desired_state.lock(deployment, expected_version)
    before = queries.spec_of(row)
    _refuse_fixed(before, spec)
    found = diffs.changes(bodies.body_of(before), bodies.body_of(spec))
    if not found:
        return Edited(row, None, ())
    _refuse_ending(row, "edit")
    revision = None
    if any(diffs.needs_restart(one.field) for one in found):
        revision = desired_state.add_revision(row, spec.revision, by, now)
    desired_state.write(row, now, **_columns(row, spec, found), **_retried(row, found, revision, now))
    events.edited(row, found, revision, by, now).save()
    return Edited(row, revision, found)


@transaction.atomic
def rollback(
    deployment: Deployment, *, number: int | None, expected_version: int | None = None, by: User | None, now: datetime
) -> Edited:
    """Bring back the configuration of revision `number` as a new revision; what acts at once stays as it is. Without a
    number: of the latest earlier revision that differs and did not fail.

    Raises `UnknownRevision`, `VersionConflict`, and `NotNow` when that configuration is in force already.
    """
    row = desired_state.lock(deployment, expected_version)
    _refuse_ending(row, "roll back")
    old = _to_restore(row, number)
    spec, gpu_type = RevisionSpec.from_json(old.spec), row.gpu_type_id
    before = bodies.configuration_of(queries.spec_of(row).revision, gpu_type)
    found = diffs.changes(before, bodies.configuration_of(spec, gpu_type))
    if not found:
        raise NotNow(f"The configuration of revision {old.number} is in force already. Choose another revision.")
    revision = desired_state.add_revision(row, spec, by, now, restores=old.number)
    desired_state.write(row, now, **_retried(row, found, revision, now))
    events.rolled_back(row, found, revision, by, now).save()
    return Edited(row, revision, found)


def _to_restore(row: Deployment, number: int | None) -> Revision:
    known = queries.revisions(row)
    if number is not None:
        found = known.filter(number=number).first()
        if found is None:
            raise UnknownRevision(number, known[0].number)
        return found
    assert row.revision, "every deployment has its first revision from the start"
    worked = known.filter(number__lt=row.revision.number, cause__isnull=True)
    previous = worked.exclude(spec_hash=row.revision.spec_hash).first()
    if previous is None:
        raise NotNow(
            "No earlier revision differs and did not fail, so there is nothing to go back to. Edit the deployment."
        )
    return previous


def _refuse_fixed(before: DeploymentSpec, spec: DeploymentSpec) -> None:
    values = {
        "name": (before.name, spec.name),
        "endpoint": (before.endpoint, spec.endpoint),
        "gpu.type": (before.gpu_type, spec.gpu_type),
    }
    errors = [FieldError(name, "immutable", FIXED[name]) for name, (old, new) in values.items() if old != new]
    if errors:
        raise Immutable(errors)


def _refuse_ending(row: Deployment, what: str) -> None:
    if row.terminate_requested_at is not None and row.status != DeploymentStatus.TERMINATED:
        raise NotNow(
            f"The deployment is terminating. Wait until it is TERMINATED; then you can {what} and redeploy it."
        )


def _columns(row: Deployment, spec: DeploymentSpec, found: Sequence[Change]) -> dict[str, Any]:
    """What acts at once. The number of replicas moves only as far as a new range demands."""
    columns: dict[str, Any] = {"description": spec.description, "labels": dict(spec.labels)}
    if not any(one.field.startswith("autoscaling.") for one in found):
        return columns
    chosen = spec.autoscaling
    least = 0 if row.asleep_since else chosen.first_replicas
    desired = max(least, min(row.desired_replicas, chosen.max_replicas))
    return {**columns, **desired_state.range_columns(chosen), "desired_replicas": desired}


def _retried(row: Deployment, found: Sequence[Change], revision: Revision | None, now: datetime) -> dict[str, Any]:
    """Another configuration, or another range of what has failed, is tried anew; a label is no reason to."""
    new = {"revision": revision} if revision else {}
    has_ended = row.terminate_requested_at is not None
    is_about_replicas = any(one.field.startswith("autoscaling.") for one in found)
    if has_ended:
        return new
    if revision or (row.failed_at is not None and is_about_replicas):
        return {**new, **desired_state.as_waiting(row, now)}
    return new
