"""Edits and rolls back deployments. A change that needs a restart makes a new revision; any other acts at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from accounts.models import User
from deployments import events, queries
from deployments.config.admission_checks import immutable_changes
from deployments.config.deployment_spec import DeploymentSpec, RevisionSpec
from deployments.config.diff import Change, diff, needs_restart
from deployments.models import Deployment, Revision
from deployments.reconciler import state_writer
from deployments.schema.errors import FieldError, InvalidConfiguration
from deployments.services import desired_state_writer
from deployments.services.desired_state_writer import NotNow
from deployments.states import DeploymentStatus


class UnknownRevision(Exception):
    """The deployment has no revision of this number."""

    def __init__(self, number: int, highest: int) -> None:
        message = f"There is no revision {number}; there are 1 to {highest}."
        super().__init__(message)
        self.error = FieldError("revision", "unknown_revision", message)


@dataclass(frozen=True)
class Edited:
    """The deployment after the edit, the new revision if one was needed, and the differences."""

    deployment: Deployment
    revision: Revision | None
    changes: tuple[Change, ...]


@transaction.atomic
def edit(
    deployment: Deployment, *, spec: DeploymentSpec, expected_version: int | None, by: User | None, now: datetime
) -> Edited:
    """Make `spec` the configuration. Without a difference nothing changes, not even the version.

    Raises `VersionConflict` when the deployment is no longer at `expected_version` (None: the last write wins),
    `InvalidConfiguration` for another value of what never changes, and `NotNow` while it is terminating. A TERMINATED
    deployment can be edited; redeploying uses the edit.
    """
    row = desired_state_writer.lock(deployment, expected_version)
    current, chosen = queries.spec_of(row), spec.configuration
    if errors := immutable_changes(chosen, current.configuration):
        raise InvalidConfiguration(errors)
    changes = diff(current.to_json(), spec.to_json())
    if not changes:
        return Edited(row, None, ())
    _check_not_terminating(row, "edit")
    restarts = any(needs_restart(change.field) for change in changes)
    revision = desired_state_writer.add_revision(row, spec.revision, by, now) if restarts else None
    columns: dict[str, Any] = {
        "description": chosen.description, "labels": dict(chosen.labels), "limits": chosen.limits.to_stored()
    }  # fmt: skip
    changes_range = any(change.field.startswith("autoscaling.") for change in changes)
    if changes_range:
        columns |= desired_state_writer.range_columns(chosen.autoscaling)
        state_writer.reset_desired_replicas(row, chosen.autoscaling.first_replicas, chosen.autoscaling.max_replicas)
    if revision:
        columns["revision"] = revision
    # A new configuration, or a new range of a failed deployment, is tried again; a new label is not.
    if row.terminate_requested_at is None and (revision or (row.failed_at is not None and changes_range)):
        state_writer.reset_failures(row, now)
    desired_state_writer.change(row, now, **columns)
    events.edited(row, changes, revision, by, now).save()
    return Edited(row, revision, changes)


@transaction.atomic
def rollback(
    deployment: Deployment, *, number: int | None, expected_version: int | None = None, by: User | None, now: datetime
) -> Edited:
    """Restore the configuration of revision `number` as a new revision; settings that need no restart stay.

    Without a number: the latest earlier revision with another configuration that did not fail. Raises
    `UnknownRevision`, `VersionConflict`, and `NotNow` when that configuration is already in force.
    """
    row = desired_state_writer.lock(deployment, expected_version)
    _check_not_terminating(row, "roll back")
    old = _find_revision(row, number)
    spec, gpu_type = RevisionSpec.from_json(old.spec), row.gpu_type_id
    current = queries.spec_of(row).revision
    changes = diff(current.configuration_json(gpu_type), spec.configuration_json(gpu_type))
    if not changes:
        raise NotNow(f"The configuration of revision {old.number} is already in effect. Choose another revision.")
    revision = desired_state_writer.add_revision(row, spec, by, now, restores=old.number)
    if row.terminate_requested_at is None:
        state_writer.reset_failures(row, now)
    desired_state_writer.change(row, now, revision=revision)
    events.rolled_back(row, changes, revision, by, now).save()
    return Edited(row, revision, changes)


def _find_revision(row: Deployment, number: int | None) -> Revision:
    revisions = queries.revisions(row)
    if number is not None:
        revision = revisions.filter(number=number).first()
        if revision is None:
            raise UnknownRevision(number, revisions[0].number)
        return revision
    assert row.revision, "every deployment has its first revision from the start"
    worked = revisions.filter(number__lt=row.revision.number, cause__isnull=True)
    previous = worked.exclude(spec_hash=row.revision.spec_hash).first()
    if previous is None:
        raise NotNow(
            "No earlier revision differs and did not fail, so there is nothing to go back to. Edit the deployment."
        )
    return previous


def _check_not_terminating(row: Deployment, verb: str) -> None:
    if row.terminate_requested_at is not None and row.status != DeploymentStatus.TERMINATED:
        raise NotNow(
            f"The deployment is terminating. Wait until it is TERMINATED; then you can {verb} and redeploy it."
        )
