"""Deployments, their replicas and their events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import Q
from django.http import Http404

from accounts.roles import Right
from console import access
from console.api import pages, problems
from console.api.auth import Caller
from console.api.operations import Answer, Call, utc
from console.api.parameters import Choice, Text
from deployments import bodies, queries, services, specs
from deployments.fields import FieldError, Fields
from deployments.models import Deployment, DeploymentEvent, Replica
from deployments.states import DeploymentStatus

STATUS = Choice("status", "Only deployments with this status.", among=[one.value for one in DeploymentStatus])
SEARCH = Text(
    "q",
    "Only deployments with this text in their name, description or model.",
    pattern="[^\x00-\x1f\x7f]{1,200}",
    message="Send 1 to 200 printable characters.",
)
FILTERS = (STATUS, SEARCH, *pages.NEWEST.parameters)


def create(call: Call) -> Answer:
    call.caller.require(Right.DEPLOY, "deploy")
    try:
        spec = specs.parse(call.body, queries.spec_options())
        deployment, created = services.create_deployment(
            organization=call.caller.organization, spec=spec, body=call.body, by=call.caller.user, now=call.now
        )
    except specs.InvalidSpec as error:
        raise problems.invalid(error.errors) from None
    except services.NameTaken as error:
        raise problems.Problem("name-taken", str(error), [error.error]) from None
    found = access.deployment(call.caller.actor, str(deployment.pk))
    location = {"Location": f"/api/v1/deployments/{deployment.pk}"} if created else {}
    return _answer(201 if created else 200, found, location)


def listed(call: Call) -> Answer:
    rows = access.deployments(call.caller.actor)
    if status := call.query["status"]:
        rows = rows.filter(status=status)
    if text := call.query["q"]:
        in_model = Q(revision__spec__model__id__icontains=text) | Q(revision__spec__model__repository__icontains=text)
        rows = rows.filter(Q(name__icontains=text) | Q(description__icontains=text) | in_model)
    page = pages.read(rows, pages.NEWEST, call.query)
    return Answer(200, page.of(rendered(page.rows)))


def shown(call: Call) -> Answer:
    return answered(call, 200)


def answered(call: Call, status: int) -> Answer:
    """The deployment as it is now."""
    return _answer(status, named(call))


def _answer(status: int, row: Deployment, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, rendered([row])[0], {"ETag": f'"{row.version}"', **(headers or {})})


def terminated(call: Call) -> Answer:
    _refuse_fields(call.body)
    deployment = named(call)
    call.caller.require(Right.DEPLOY, "terminate deployments", deployment.organization)
    services.terminate(deployment, by=call.caller.user, now=call.now)
    return answered(call, 202)


def deleted(call: Call) -> Answer:
    deployment = named(call)
    call.caller.require(Right.DEPLOY, "delete deployments", deployment.organization)
    try:
        services.delete(deployment, by=call.caller.user, now=call.now)
    except services.NotEnded as error:
        raise problems.Problem("not-ended", str(error)) from None
    return Answer(204)


def replicas(call: Call) -> Answer:
    page = pages.read(queries.replica_rows(named(call)).select_related("cluster", "revision"), pages.NEWEST, call.query)
    return Answer(200, page.of([_replica(row) for row in page.rows]))


def events(call: Call) -> Answer:
    page = pages.read(named(call).events.all(), pages.LATEST, call.query)
    return Answer(200, page.of([event(row) for row in page.rows]))


def references(caller: Caller, names: Iterable[str]) -> list[Deployment]:
    """The deployments of the caller's organization with these ids or names. Raises a 404 that names each other one."""
    found: list[Deployment] = []
    errors = []
    for index, name in enumerate(names):
        try:
            one = access.deployment(caller.actor, name)
            if one.organization_id != caller.organization.pk:
                raise Http404
            found.append(one)
        except Http404:
            message = "There is no such deployment in this organization. Send its id or its name."
            errors.append(FieldError(f"deployments.{index}", "unknown_deployment", message))
    if errors:
        raise problems.Problem("not-found", "A deployment that the key shall be for does not exist.", errors)
    return found


def rendered(rows: Iterable[Deployment]) -> list[dict[str, Any]]:
    """Deployments as rest.md §3 shows them."""
    listed = list(rows)
    ids = [one.pk for one in listed]
    ready, live = queries.ready_counts(ids), queries.live_counts(ids)
    return [_deployment(one, ready.get(one.pk, 0), live.get(one.pk, 0)) for one in listed]


def base_url(root: str) -> str:
    """What a client of the gateway at `root` uses as base_url."""
    return f"{root.rstrip('/').removesuffix('/v1')}/v1"


def named(call: Call) -> Deployment:
    try:
        return access.deployment(call.caller.actor, call.path["id"])
    except Http404:
        raise problems.missing("deployment") from None


def _deployment(row: Deployment, ready: int, live: int) -> dict[str, Any]:
    assert row.revision, "every deployment has its first revision from the start"
    spec, status = queries.spec_of(row), DeploymentStatus(row.status)
    return {
        "id": str(row.pk),
        "organization": row.organization.slug,
        **bodies.body_of(spec),
        "status": status.value,
        "phase": (row.phase or None) if status is DeploymentStatus.DEPLOYING else None,
        "cause": row.cause if status is DeploymentStatus.FAILED else None,
        "revision": row.revision.number,
        "replicas": {
            "desired": 0 if row.terminate_requested_at else row.desired_replicas,
            "ready": ready,
            "total": live,
        },
        "call": {"base_url": base_url(row.endpoint.base_url), "model": row.name},
        "simulated": row.endpoint.cluster.simulated or spec.revision.engine.simulator is not None,
        "created_at": utc(row.created_at),
        "updated_at": utc(row.updated_at),
        "ready_at": utc(row.ready_at),
    }


def _replica(row: Replica) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "revision": row.revision.number,
        "state": row.state,
        "node": row.node or None,
        "gpu_indices": row.gpu_indices,
        "phases": [
            {"name": one.name, "started_at": utc(one.started_at), "ended_at": utc(one.ended_at)}
            for one in row.phases.all()
        ],
        "restarts": row.restarts,
        "cause": row.cause,
        "simulated": row.cluster.simulated or row.revision.spec["engine"].get("simulator") is not None,
    }


def event(row: DeploymentEvent) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "at": utc(row.at),
        "kind": row.kind,
        "actor": row.actor,
        "summary": row.summary,
        "data": row.data,
    }


def _refuse_fields(body: Any) -> None:
    fields = Fields(body)
    fields.finish()
    if fields.errors:
        raise problems.invalid(fields.errors)
