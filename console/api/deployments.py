"""Deployments: create, list, edit, and the actions on them."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from django.db.models import Q, QuerySet
from django.http import Http404, HttpResponse
from ninja import Body, P, PathEx, Query, Status
from pydantic import Field

from console import access
from console.api import json_body
from console.api.auth import DEPLOY, ApiRequest, Caller
from console.api.concurrency import IfMatch, expected_version, set_etag
from console.api.field_types import WHOLE_NUMBER, RequestBody, Resource, SearchText, Time
from console.api.idempotency import idempotent
from console.api.openapi import describe_body
from console.api.pagination import NewestFirst, Page
from console.api.predibase import translate_accelerator
from console.api.problems import missing, raises
from console.api.strict_router import Router
from deployments import models as tables
from deployments import queries, services
from deployments.config.build_spec import parse
from deployments.config.configuration import AnyEngineSettings, CatalogSource, Configuration, Gpu
from deployments.config.deployment_spec import UnreadableSpec
from deployments.config.json_schema import create_schema, patch_schema
from deployments.config.normalize import merge
from deployments.messages import describe_reason
from deployments.schema.adapter import Adapter
from deployments.services import VersionConflict
from deployments.states import DeploymentStatus, ReplicaState

router = Router(tags=["Deployments"])
Row = TypeVar("Row")
# What `_render` reads. An instance for each deployment and for its parents would take longer than all the rest.
COLUMNS = (
    "pk", "name", "description", "labels", "limits", "gpu_type_id", "created_at", "updated_at", "ready_at", "version",
    "status", "phase", "cause", "desired_replicas", "terminate_requested_at",
    "autoscaling_enabled", "min_replicas", "max_replicas", "scale_down_delay_seconds", "sleep_after_seconds",
    "organization__slug", "endpoint__name", "endpoint__base_url", "endpoint__cluster__simulated",
    "revision__number", "revision__spec",
)  # fmt: skip
Reference = PathEx[str, P(description="ID or name of the deployment.")]


class Cause(Resource):
    code: str
    message: str
    evidence: str
    action: str


class ReplicaCounts(Resource):
    desired: int
    ready: int
    total: int = Field(description="All replicas that have not ended.")


class Call(Resource):
    base_url: str = Field(description="Base URL for OpenAI clients; ends in /v1.")
    model: str


class ConfigurationProblem(Resource):
    code: Literal["unreadable"]
    message: str
    action: str


class Deployment(Configuration):
    """The sections that its revision stores are null if this release cannot read them; then there is a
    configuration_problem."""

    model: CatalogSource | None = None  # type: ignore[assignment]
    adapters: tuple[Adapter, ...] | None = None  # type: ignore[assignment]
    engine: AnyEngineSettings | None = None  # type: ignore[assignment]
    gpu: Gpu | None = None  # type: ignore[assignment]
    id: str
    organization: str = Field(description="Slug of the organization that owns it.")
    status: DeploymentStatus
    phase: ReplicaState | None = Field(description="Phase of the start; only while DEPLOYING.")
    cause: Cause | None = Field(description="Why it failed; only when FAILED.")
    configuration_problem: ConfigurationProblem | None = Field(
        description="Why model, adapters, engine and gpu are null, such as after a return to an earlier release."
    )
    revision: int
    replicas: ReplicaCounts
    call: Call
    simulated: bool = Field(description="Whether its GPUs or its engine are simulated.")
    created_at: Time
    updated_at: Time
    ready_at: Time | None


class DeploymentPage(Page):
    data: list[Deployment]


class DeploymentFilters(NewestFirst):
    status: DeploymentStatus | None = Field(None, description="Only deployments with this status.")
    q: SearchText | None = Field(None, description="Only deployments with this text in name, description or model.")


class NoFields(RequestBody):
    pass


class Rollback(RequestBody):
    revision: Annotated[int, Field(ge=1, le=2**31 - 1), WHOLE_NUMBER] | None = Field(
        None, description="Number of the revision; null for the latest earlier one that differs and did not fail."
    )


@router.get("/deployments", response=DeploymentPage, summary="List deployments")
def list_deployments(request: ApiRequest, filters: Query[DeploymentFilters]) -> DeploymentPage:
    rows = access.deployments(request.auth.actor)
    if filters.status:
        rows = rows.filter(status=filters.status)
    if text := filters.q:
        in_model = Q(revision__spec__model__id__icontains=text) | Q(revision__spec__model__repository__icontains=text)
        rows = rows.filter(Q(name__icontains=text) | Q(description__icontains=text) | in_model)
    page, next_cursor = filters.read(_read_columns(rows))
    return DeploymentPage(data=render_deployments(page), next_cursor=next_cursor)


@router.post(
    "/deployments",
    auth=DEPLOY,
    response={201: Deployment, 200: Deployment},
    summary="Create a deployment",
    openapi_extra=describe_body(create_schema()),
)
@raises("name-taken")
@idempotent
def create_deployment(request: ApiRequest, response: HttpResponse) -> Status[Deployment]:
    """Returns immediately; poll status for progress. Omitted fields get defaults, which the response shows. If a
    deployment with the same name and body exists, it is returned with 200."""
    body = json_body.read(request)
    spec = parse(translate_accelerator(body), queries.spec_options(), is_operator=request.auth.user.is_operator)
    deployment, is_new = services.create_deployment(
        organization=request.auth.organization, spec=spec, body=body, by=request.auth.user, now=request.now
    )
    if is_new:
        response["Location"] = f"/api/v1/deployments/{deployment.pk}"
    return Status(201 if is_new else 200, render_current(request, response, str(deployment.pk)))


@router.get("/deployments/{str:id}", response=Deployment, summary="Get a deployment")
def get_deployment(request: ApiRequest, response: HttpResponse, id: Reference) -> Deployment:
    return render_current(request, response, id)


@router.patch(
    "/deployments/{str:id}",
    auth=DEPLOY,
    response=Deployment,
    summary="Update a deployment",
    openapi_extra=describe_body(patch_schema(), json_body.MERGE_PATCH),
)
@raises("not-now", "configuration-unreadable", "changed-meanwhile")
def edit_deployment(request: ApiRequest, response: HttpResponse, id: Reference, if_match: IfMatch = None) -> Deployment:
    """The body is a JSON merge patch: omitted fields keep their values, null restores a default. Changes of model,
    adapters, engine or GPU count create a new revision and replace the replicas one by one; other changes take effect
    immediately. Name, endpoint and GPU type cannot be changed."""
    patch = translate_accelerator(json_body.read_object(request))
    while True:
        deployment = find_deployment(request.auth, id)
        expected = expected_version(deployment, if_match)
        current = queries.spec_of(deployment)
        body = merge(current.to_json(), patch)
        spec = parse(body, queries.spec_options(), current, is_operator=request.auth.user.is_operator)
        try:
            services.edit(
                deployment, spec=spec, expected_version=deployment.version, by=request.auth.user, now=request.now
            )
            return render_current(request, response, id)
        except VersionConflict:
            if expected is not None:
                raise  # without If-Match the patch is made anew on what somebody else wrote meanwhile


@router.delete("/deployments/{str:id}", auth=DEPLOY, response={204: None}, summary="Delete a deployment")
@raises("not-ended")
def delete_deployment(request: ApiRequest, id: Reference) -> Status[None]:
    services.delete(find_deployment(request.auth, id), by=request.auth.user, now=request.now)
    return Status(204, None)


@router.post(
    "/deployments/{str:id}/terminate",
    auth=DEPLOY,
    response={202: Deployment},
    summary="Terminate a deployment",
)
@idempotent
def terminate_deployment(
    request: ApiRequest, response: HttpResponse, id: Reference, body: Body[NoFields] = NoFields()
) -> Status[Deployment]:
    """Stops all replicas and releases the GPUs. The status is TERMINATING until no replica is left, then TERMINATED.
    Idempotent."""
    services.terminate(find_deployment(request.auth, id), by=request.auth.user, now=request.now)
    return Status(202, render_current(request, response, id))


@router.post(
    "/deployments/{str:id}/redeploy",
    auth=DEPLOY,
    response={202: Deployment},
    summary="Redeploy a deployment",
)
@raises("not-now", "changed-meanwhile")
@idempotent
def redeploy_deployment(
    request: ApiRequest, response: HttpResponse, id: Reference, if_match: IfMatch = None,
    body: Body[NoFields] = NoFields(),
) -> Status[Deployment]:  # fmt: skip
    """Starts a TERMINATED or FAILED deployment again, with its current configuration."""
    deployment = find_deployment(request.auth, id)
    expected = expected_version(deployment, if_match)
    services.redeploy(deployment, expected_version=expected, by=request.auth.user, now=request.now)
    return Status(202, render_current(request, response, id))


@router.post("/deployments/{str:id}/retry", auth=DEPLOY, response={202: Deployment}, summary="Retry a deployment")
@raises("not-now", "changed-meanwhile")
@idempotent
def retry_deployment(
    request: ApiRequest, response: HttpResponse, id: Reference, if_match: IfMatch = None,
    body: Body[NoFields] = NoFields(),
) -> Status[Deployment]:  # fmt: skip
    """Immediately starts a deployment that is FAILED or waits before its next start. Earlier failures no longer
    count."""
    deployment = find_deployment(request.auth, id)
    expected = expected_version(deployment, if_match)
    services.retry(deployment, expected_version=expected, by=request.auth.user, now=request.now)
    return Status(202, render_current(request, response, id))


@router.post(
    "/deployments/{str:id}/rollback",
    auth=DEPLOY,
    response={202: Deployment},
    summary="Roll back to an earlier revision",
)
@raises("not-now", "configuration-unreadable", "changed-meanwhile")
@idempotent
def roll_back_deployment(
    request: ApiRequest, response: HttpResponse, id: Reference, if_match: IfMatch = None,
    body: Body[Rollback] = Rollback(revision=None),
) -> Status[Deployment]:  # fmt: skip
    """Creates a new revision with the configuration of an earlier one: revision, or the latest earlier one that
    differs and did not fail. Replicas, description and labels do not change."""
    deployment = find_deployment(request.auth, id)
    expected = expected_version(deployment, if_match)
    services.rollback(
        deployment, number=body.revision, expected_version=expected, by=request.auth.user, now=request.now
    )
    return Status(202, render_current(request, response, id))


def find_deployment(caller: Caller, reference: str) -> tables.Deployment:
    """By id or name. Raises a 404, also for what the key may not see."""
    return _find_only(_find_referenced(caller, reference))


def _find_referenced(caller: Caller, reference: str) -> QuerySet[tables.Deployment]:
    if "\0" in reference:
        raise missing("deployment")
    return access.referenced_deployments(caller.actor, reference)


def _find_only(rows: QuerySet[tables.Deployment, Row]) -> Row:
    try:
        return access.find_only(rows)
    except Http404:
        raise missing("deployment") from None


def _read_columns(rows: QuerySet[tables.Deployment]) -> QuerySet[tables.Deployment, Any]:
    return rows.values_list(*COLUMNS, named=True)


def render_current(request: ApiRequest, response: HttpResponse, reference: str) -> Deployment:
    """The deployment as it is now, with its ETag in `response`."""
    row = _find_only(_read_columns(_find_referenced(request.auth, reference)))
    set_etag(response, row.version)
    return render_deployments([row])[0]


def render_deployments(rows: Sequence[Any]) -> list[Deployment]:
    """`rows` have the attributes COLUMNS."""
    counts = queries.live_counts([row.pk for row in rows])
    return [_render(row, *counts.get(row.pk, (0, 0))) for row in rows]


def render_cause(stored: Mapping[str, Any] | None) -> Cause | None:
    if not stored:
        return None
    text = describe_reason(stored)
    return Cause(code=text.code, message=text.sentence, evidence=text.evidence, action=text.action)


def is_simulator(spec: Mapping[str, Any]) -> bool:
    """`spec`: what a revision stores, which this release may be unable to read."""
    engine = spec.get("engine")
    return isinstance(engine, dict) and engine.get("name") == "simulator"


def _render(row: Any, ready: int, live: int) -> Deployment:
    status, problem = DeploymentStatus(row.status), None
    try:
        settings = dict(queries.make_spec(row, row.endpoint__name, row.revision__spec).configuration)
    except UnreadableSpec:
        settings = queries.settings_beside_revision(row, row.endpoint__name)
        problem = ConfigurationProblem(code="unreadable", message=UnreadableSpec.PROBLEM, action=UnreadableSpec.ACTION)
    return Deployment(
        id=str(row.pk),
        organization=row.organization__slug,
        **settings,
        status=status,
        phase=ReplicaState(row.phase) if row.phase and status is DeploymentStatus.DEPLOYING else None,
        cause=render_cause(row.cause) if status is DeploymentStatus.FAILED else None,
        configuration_problem=problem,
        revision=row.revision__number,
        replicas=ReplicaCounts(
            desired=0 if row.terminate_requested_at else row.desired_replicas, ready=ready, total=live
        ),
        call=Call(base_url=tables.make_api_url(row.endpoint__base_url), model=row.name),
        simulated=row.endpoint__cluster__simulated or is_simulator(row.revision__spec),
        created_at=row.created_at,
        updated_at=row.updated_at,
        ready_at=row.ready_at,
    )
