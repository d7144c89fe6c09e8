"""Creates deployments, idempotently: the same name with the same body is the same deployment."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from accounts.models import Organization, User
from deployments import events
from deployments.config.deployment_spec import DeploymentSpec
from deployments.models import Deployment, Endpoint, WorkItem
from deployments.reconciler import state_writer
from deployments.schema.errors import FieldError
from deployments.services import desired_state_writer


class NameTaken(Exception):
    """Another deployment of the organization has this name; `error` is at `name`."""

    def __init__(self, name: str) -> None:
        message = f"There is already a deployment {name!r} with another configuration. Choose another name."
        super().__init__(message)
        self.error = FieldError("name", "name_taken", message)


def request_hash(body: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a body."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def create_deployment(
    *, organization: Organization, spec: DeploymentSpec, body: Mapping[str, Any], by: User | None, now: datetime
) -> tuple[Deployment, bool]:
    """Returns the deployment and whether it is new; the same name with the same body returns the existing one.

    Raises `NameTaken` for the same name with another body.
    """
    body_hash = request_hash(body)
    try:
        with transaction.atomic():
            return _insert(organization, spec, body_hash, by, now), True
    except IntegrityError:
        named = Deployment.objects.filter(organization=organization, name=spec.configuration.name, deleted_at=None)
        existing = named.first()
        if existing is None:
            raise
        if existing.request_hash != body_hash:
            raise NameTaken(spec.configuration.name) from None
        return existing, False


def _insert(
    organization: Organization, spec: DeploymentSpec, body_hash: str, by: User | None, now: datetime
) -> Deployment:
    wanted = spec.configuration
    deployment = Deployment.objects.create(
        organization=organization,
        endpoint=Endpoint.objects.get(name=wanted.endpoint),
        name=wanted.name,
        description=wanted.description,
        labels=dict(wanted.labels),
        limits=wanted.limits.to_stored(),
        request_hash=body_hash,
        gpu_type_id=wanted.gpu.type,
        **desired_state_writer.range_columns(wanted.autoscaling),
        **state_writer.initial_columns(wanted.autoscaling.first_replicas, now),
        created_by=by,
        created_at=now,
        updated_at=now,
    )
    WorkItem.objects.create(deployment=deployment, next_due_at=now)
    deployment.revision = desired_state_writer.add_revision(deployment, spec.revision, by, now)
    deployment.save(update_fields=["revision"])
    events.created(deployment, by, now).save()
    desired_state_writer.announce(deployment, now)
    return deployment
