"""Writes of desired state: a button press writes a row, leaves a hint and returns. Nothing here talks to a cluster,
except the set-up of the local cluster and its end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F

from accounts.models import Organization, User
from deployments import events, publish, writing
from deployments.editing import Edited as Edited
from deployments.editing import Immutable as Immutable
from deployments.editing import UnknownRevision as UnknownRevision
from deployments.editing import edit as edit
from deployments.editing import rollback as rollback
from deployments.fields import FieldError
from deployments.hints import hint as hint
from deployments.models import Deployment, Endpoint
from deployments.reconciler import switch_off as end
from deployments.reference import ensure_local_cluster as ensure_local_cluster
from deployments.reference import load_reference_data as load_reference_data
from deployments.restarting import redeploy as redeploy
from deployments.restarting import retry as retry
from deployments.specs import DeploymentSpec
from deployments.states import DeploymentStatus
from deployments.writing import NotNow as NotNow
from deployments.writing import VersionConflict as VersionConflict

DELETABLE = (DeploymentStatus.TERMINATED, DeploymentStatus.FAILED)


class NameTaken(Exception):
    """Another deployment of the organization has this name; `error` is at `name`."""

    def __init__(self, name: str) -> None:
        message = f"There is already a deployment {name!r} with another configuration. Choose another name."
        super().__init__(message)
        self.error = FieldError("name", "name_taken", message)


class NotEnded(Exception):
    """Only what is TERMINATED or FAILED can be deleted."""

    def __init__(self, status: str) -> None:
        super().__init__(f"The deployment is {status}. Terminate it, wait until it is TERMINATED, then delete it.")
        self.status = status


def request_hash(body: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a body."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def create_deployment(
    *, organization: Organization, spec: DeploymentSpec, body: Mapping[str, Any], by: User | None, now: datetime
) -> tuple[Deployment, bool]:
    """The deployment and whether it is new. The same name and body again give what exists; raises `NameTaken`."""
    asked = request_hash(body)
    try:
        with transaction.atomic():
            return _insert(organization, spec, asked, by, now), True
    except IntegrityError:
        existing = Deployment.objects.filter(organization=organization, name=spec.name, deleted_at=None).first()
        if existing is None:
            raise
        if existing.request_hash != asked:
            raise NameTaken(spec.name) from None
        return existing, False


def _insert(organization: Organization, spec: DeploymentSpec, asked: str, by: User | None, now: datetime) -> Deployment:
    deployment = Deployment.objects.create(
        organization=organization,
        endpoint=Endpoint.objects.get(name=spec.endpoint),
        name=spec.name,
        description=spec.description,
        labels=dict(spec.labels),
        request_hash=asked,
        gpu_type_id=spec.gpu_type,
        desired_replicas=spec.autoscaling.first_replicas,
        **writing.range_columns(spec.autoscaling),
        created_by=by,
        created_at=now,
        updated_at=now,
        status_since=now,
        pending_since=now,
        next_due_at=now,
    )
    deployment.revision = writing.add_revision(deployment, spec.revision, by, now)
    deployment.save(update_fields=["revision"])
    events.created(deployment, by, now).save()
    writing.tell(deployment, now)
    return deployment


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
        writing.tell(deployment, now)
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
    transaction.on_commit(lambda: publish.ui_changed([row]), robust=True)


def switch_off(now: datetime) -> list[str]:
    """Stop the replicas of local clusters when the console ends; what people want stays as it is."""
    return end.switch_off(now)
