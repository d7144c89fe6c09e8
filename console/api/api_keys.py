"""API keys: listed without their secret, made with it, revoked."""

import uuid
from collections.abc import Iterable
from typing import Annotated, Any

from django.http import Http404, HttpResponse
from ninja import P, PathEx, Query, Status
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from accounts import models as tables
from accounts import services
from accounts.roles import Scope
from console import access
from console.api.auth import MANAGE_OWN_KEYS, ApiRequest
from console.api.field_types import RequestBody, Resource, Time, TimeInBody
from console.api.idempotency import idempotent
from console.api.pagination import NewestFirst, Page
from console.api.problems import Problem, missing
from console.api.strict_router import Router
from deployments.schema.errors import FieldError
from deployments.schema.types import Printable

router = Router(tags=["API keys"])
DeploymentReference = Annotated[str, Field(max_length=63), Printable()]
SCOPES = [scope.value for scope in Scope]


class ApiKey(Resource):
    id: str
    organization: str
    user: str = Field(description="E-mail address of the owner of the key.")
    name: str
    prefix: str = Field(description="First characters of the secret.")
    scopes: list[Scope]
    deployments: list[str] | None = Field(description="IDs of the deployments that the key can call; null for all.")
    created_at: Time
    expires_at: Time | None
    last_used_at: Time | None
    revoked_at: Time | None


class NewApiKey(ApiKey):
    secret: str = Field(description="The secret. Only this response contains it.")


class ApiKeyPage(Page):
    data: list[ApiKey]


def _refuse_blank(name: str) -> str:
    if not name.strip():
        raise PydanticCustomError("required", "Enter a name that says what uses the key.")
    return name


def _check_scope(scope: str) -> str:
    if scope not in SCOPES:
        raise PydanticCustomError("unknown_value", "Send one of: {scopes}.", {"scopes": ", ".join(SCOPES)})
    return scope


def _read_null_as_empty(value: Any) -> Any:
    """So that null is answered as what it is: no scope."""
    return [] if value is None else value


class ApiKeyBody(RequestBody):
    name: Annotated[str, Field(min_length=1, max_length=120), Printable(), AfterValidator(_refuse_blank)]
    scopes: Annotated[
        list[Annotated[str, AfterValidator(_check_scope), WithJsonSchema({"type": "string", "enum": SCOPES})]],
        Field(min_length=1, max_length=len(SCOPES)),
        BeforeValidator(_read_null_as_empty),
    ] = Field(
        description="inference: call the gateway. read: GET requests to this API. manage: all requests to this API."
    )
    expires_at: TimeInBody | None = Field(
        None, description="When the key expires; null for never. A key with a time in the past is never valid."
    )
    deployments: Annotated[list[DeploymentReference], Field(max_length=100)] | None = Field(
        None, description="IDs or names of the deployments that the key can call; null for all."
    )


@router.get("/api-keys", response=ApiKeyPage, summary="List API keys")
def list_api_keys(request: ApiRequest, page: Query[NewestFirst]) -> ApiKeyPage:
    """Returns your keys, newest first; for admins and owners, all keys of the organization."""
    rows, next_cursor = page.read(access.api_keys(request.auth.actor))
    return ApiKeyPage(data=[ApiKey(**_values(row)) for row in rows], next_cursor=next_cursor)


@router.post("/api-keys", auth=MANAGE_OWN_KEYS, response={201: NewApiKey}, summary="Create an API key")
@idempotent
def create_api_key(request: ApiRequest, response: HttpResponse, body: ApiKeyBody) -> Status[NewApiKey]:
    """The key belongs to you. It can do what both its scopes and your role at the time of each request allow. Only this
    response contains its secret."""
    key, secret = services.create_key(
        organization=request.auth.organization,
        user=request.auth.user,
        name=body.name,
        scopes=list(dict.fromkeys(body.scopes)),
        expires_at=body.expires_at,
        deployments=None if body.deployments is None else _find_deployments(request, body.deployments),
        now=request.now,
    )
    return Status(201, NewApiKey(**_values(key), secret=secret))


@router.delete("/api-keys/{str:id}", response={204: None}, summary="Revoke an API key")
def revoke_api_key(request: ApiRequest, id: PathEx[str, P(description="Id.")]) -> Status[None]:
    """The key is refused everywhere within a second."""
    try:
        key = access.api_keys(request.auth.actor).get(pk=uuid.UUID(id))
    except (ValueError, tables.ApiKey.DoesNotExist):
        raise missing("API key") from None
    services.revoke_key(key, request.now)
    return Status(204, None)


def _find_deployments(request: ApiRequest, references: Iterable[str]) -> list[uuid.UUID]:
    """The ids of the caller's deployments with these ids or names. Raises a 404 that names each other one."""
    caller = request.auth
    found: list[uuid.UUID] = []
    errors = []
    for index, reference in enumerate(references):
        try:
            deployment = access.deployment(caller.actor, reference)
            if deployment.organization_id != caller.organization.pk:
                raise Http404
            found.append(deployment.pk)
        except Http404:
            message = "There is no such deployment in this organization. Send its id or its name."
            errors.append(FieldError(f"deployments.{index}", "unknown_deployment", message))
    if errors:
        raise Problem("not-found", "A deployment in deployments does not exist.", errors)
    return list(dict.fromkeys(found))


def _values(row: tables.ApiKey) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "organization": row.organization.slug,
        "user": row.user.email,
        "name": row.name,
        "prefix": row.prefix,
        "scopes": row.scopes,
        "deployments": None if row.deployments is None else [str(deployment_id) for deployment_id in row.deployments],
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "last_used_at": row.last_used_at,
        "revoked_at": row.revoked_at,
    }
