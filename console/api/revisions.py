"""The revisions of a deployment: what its replicas were started with, and what each one changed."""

from typing import Any

from ninja import Query
from pydantic import Field

from console.api.auth import ApiRequest
from console.api.deployments import Cause, Reference, find_deployment, render_cause
from console.api.field_types import Resource, Time
from console.api.pagination import HighestNumberFirst, Page
from console.api.strict_router import Router
from deployments import models as tables
from deployments import queries
from deployments.config.configuration import AnyEngineSettings, CatalogSource, Gpu
from deployments.config.deployment_spec import RevisionSpec, UnreadableSpec
from deployments.config.diff import diff
from deployments.schema.adapter import Adapter

router = Router(tags=["Deployments"])


class Change(Resource):
    field: str
    before: Any
    after: Any


class RevisionConfiguration(Resource):
    """The settings that a revision holds."""

    model: CatalogSource
    adapters: list[Adapter]
    engine: AnyEngineSettings
    gpu: Gpu


class Revision(Resource):
    number: int = Field(description="Number of the revision, starting at 1.")
    current: bool = Field(description="Whether this is the current revision.")
    created_at: Time
    created_by: str | None = Field(description="E-mail address; null for an automatic rollback.")
    restores: int | None = Field(description="Number of the revision that a rollback restored.")
    ready_at: Time | None = Field(description="When a replica of this revision was first ready.")
    cause: Cause | None = Field(description="Why the revision could not start and was rolled back.")
    configuration: RevisionConfiguration | None = Field(description="Null if this release cannot read it.")
    changes: list[Change] = Field(
        description="Changes from the previous revision, by path of the field; empty if one of the two cannot be read."
    )


class RevisionPage(Page):
    data: list[Revision]


@router.get("/deployments/{str:id}/revisions", response=RevisionPage, summary="List revisions")
def list_revisions(request: ApiRequest, id: Reference, page: Query[HighestNumberFirst]) -> RevisionPage:
    """A revision is what its replicas were started with."""
    deployment = find_deployment(request.auth, id)
    rows, next_cursor = page.read(queries.revisions(deployment))
    lowest = rows[-1].number if rows else 1
    before_them = queries.revisions(deployment).filter(number__lt=lowest)[:1]
    older = dict(zip(rows, [*[*rows, *before_them][1:], None], strict=False))
    return RevisionPage(data=[_render(deployment, row, older.get(row)) for row in rows], next_cursor=next_cursor)


def _render(deployment: tables.Deployment, row: tables.Revision, older: tables.Revision | None) -> Revision:
    configuration = _read_configuration(row, deployment.gpu_type_id)
    before = _read_configuration(older, deployment.gpu_type_id) if older else None
    return Revision(
        number=row.number,
        current=row.pk == deployment.revision_id,
        created_at=row.created_at,
        created_by=row.created_by.email if row.created_by else None,
        restores=row.restores,
        ready_at=row.ready_at,
        cause=render_cause(row.cause),
        configuration=RevisionConfiguration.model_validate(configuration) if configuration else None,
        changes=[Change.model_validate(change) for change in diff(before, configuration)]
        if before and configuration
        else [],
    )


def _read_configuration(revision: tables.Revision, gpu_type: str) -> dict[str, Any] | None:
    try:
        return RevisionSpec.from_json(revision.spec).configuration_json(gpu_type)
    except UnreadableSpec:
        return None
