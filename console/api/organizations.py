"""The organization of the key, and the limits that operators set for an organization."""

from ninja import P, PathEx
from pydantic import Field

from accounts import models as tables
from accounts import services
from accounts.roles import Role
from console import access
from console.api import json_body
from console.api.auth import ApiRequest, Caller
from console.api.field_types import Resource, Time
from console.api.openapi import describe_body
from console.api.problems import Problem, missing
from console.api.strict_router import Router
from deployments.config.configuration import Limits
from deployments.config.json_schema import limits_patch_schema
from deployments.config.normalize import merge_objects
from deployments.config.schema_validation import validate_limits
from deployments.schema.errors import FieldError

router = Router(tags=["Organization"])


class Organization(Resource):
    id: str
    slug: str
    name: str
    role: Role | None
    limits: Limits = Field(description="Limits of the calls of its keys, across all deployments; set by operators.")
    created_at: Time


@router.get("/organizations/current", response=Organization, summary="Get the organization of the API key")
def get_organization(request: ApiRequest) -> Organization:
    return _render(request.auth.organization, request.auth)


@router.patch(
    "/organizations/{str:id}",
    response=Organization,
    summary="Set the limits of an organization",
    openapi_extra=describe_body(limits_patch_schema("OrganizationPatch"), json_body.MERGE_PATCH),
)
def edit_organization(
    request: ApiRequest, id: PathEx[str, P(description="ID or slug of the organization.")]
) -> Organization:
    """For operators. The body is a JSON merge patch: omitted limits keep their values, null removes a limit. They take
    effect within seconds."""
    patch = json_body.read_object(request)
    if "\0" in id:
        raise missing("organization")
    row = access.organization(request.auth.actor, id)
    if not request.auth.actor.is_operator:
        error = FieldError("limits", "operators_only", "Only operators can change this. Omit it.")
        raise Problem("right-missing", "Only operators of the platform may change an organization.", [error])
    limits = validate_limits(merge_objects({"limits": row.limits}, patch))
    services.set_limits(row, limits.to_stored())
    return _render(row, request.auth)


def _render(row: tables.Organization, caller: Caller) -> Organization:
    return Organization(
        id=str(row.pk),
        slug=row.slug,
        name=row.name,
        role=caller.actor.roles.get(row.pk),
        limits=Limits.model_validate(row.limits),
        created_at=row.created_at,
    )
