"""Every error of the API is a problem document (RFC 9457): {"type", "title", "status", "detail", "request_id"}, with
`errors: [{"field", "code", "message"}]` for bad input. `type` is an address on the readable page of the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from ninja.errors import ValidationError

from deployments.config.deployment_spec import UnreadableSpec
from deployments.schema.errors import FieldError, InvalidConfiguration, convert

CONTENT_TYPE = "application/problem+json"
PREFIX = "/api/v1"
Handler = TypeVar("Handler", bound=Callable[..., Any])


@dataclass(frozen=True)
class Kind:
    """A kind of problem: its HTTP status, its title, and what to do about it."""

    status: int
    title: str
    advice: str


KINDS: Mapping[str, Kind] = {
    "malformed": Kind(
        400, "The request is malformed", "Send one JSON value in UTF-8, as described in the OpenAPI document."
    ),
    "unauthenticated": Kind(
        401,
        "Missing or invalid API key",
        "Send Authorization: Bearer mc_… with a key that is not expired or revoked.",
    ),
    "scope-missing": Kind(
        403,
        "The API key lacks a scope",
        "Use a key with the scope manage, or read for GET requests. The scopes of a key cannot be changed.",
    ),
    "right-missing": Kind(
        403,
        "Your role does not allow this",
        "Ask an owner of the organization for another role.",
    ),
    "not-found": Kind(
        404, "Not found", "Check the URL and the ID. Resources that the key cannot access are reported as not found."
    ),
    "method-not-allowed": Kind(405, "Method not allowed", "The Allow header lists the methods of this URL."),
    "name-taken": Kind(
        409,
        "The name is taken",
        "Choose another name, or send the body with which the existing deployment was created.",
    ),
    "not-ended": Kind(
        409,
        "The deployment cannot be deleted yet",
        "See detail for what is left. Terminate it, wait until its status is TERMINATED, then delete it.",
    ),
    "idempotency-key-reused": Kind(
        409,
        "The Idempotency-Key was used with another request",
        "Use a new key for a new request; keys are kept for 24 hours.",
    ),
    "not-now": Kind(
        409,
        "The deployment's status does not allow this",
        "See detail for the status that does; poll the status of the deployment.",
    ),
    "configuration-unreadable": Kind(409, "The configuration cannot be read by this release", UnreadableSpec.ACTION),
    "changed-meanwhile": Kind(
        412,
        "The resource has changed since you read it",
        "Read it again and send your change with the new ETag in If-Match.",
    ),
    "too-large": Kind(413, "The request is too large", "Send at most 1 MiB."),
    "unsupported-media-type": Kind(
        415,
        "The body is not JSON",
        "Send Content-Type: application/json; for PATCH also application/merge-patch+json.",
    ),
    "invalid-input": Kind(422, "Invalid input", "Each entry of errors names a field and what to send."),
    "refused": Kind(400, "The request was rejected", "Check the request line and the headers."),
    "log-unavailable": Kind(
        503,
        "The log is temporarily unavailable",
        "The cluster cannot be reached. Try again; logs of ended replicas stay available.",
    ),
    "internal": Kind(500, "Internal error", "Try again. If the error persists, report the request_id to an operator."),
}
_KIND_OF_STATUS = {403: "right-missing", 404: "not-found", 405: "method-not-allowed", 413: "too-large"}
_KEPT_HEADERS = ("Allow", "Retry-After")
_CODE_OF_SOURCE = {"query": "invalid_parameter", "header": "invalid_header"}


@dataclass
class Problem(Exception):
    """Raise it anywhere below an operation; `kind` is one of KINDS."""

    kind: str
    detail: str
    errors: Sequence[FieldError] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


def raises(*kinds: str) -> Callable[[Handler], Handler]:
    """Declares which problems of its own an operation may answer with, for the OpenAPI document."""

    def declare(handler: Handler) -> Handler:
        handler.problem_kinds = (*getattr(handler, "problem_kinds", ()), *kinds)  # type: ignore[attr-defined]
        return handler

    return declare


def invalid(errors: Sequence[FieldError]) -> Problem:
    count = len(errors)
    many = "1 thing is wrong with the input." if count == 1 else f"{count} things are wrong with the input."
    return Problem("invalid-input", many, errors)


def missing(what: str) -> Problem:
    return Problem("not-found", f"There is no such {what}, or this key may not see it.")


def from_validation_error(error: ValidationError) -> Problem:
    """What pydantic finds wrong with parameters, headers and bodies."""
    if any(found["type"] == "missing" and found["loc"] == ("body", "body") for found in error.errors):
        return Problem("malformed", "The body is empty; send a JSON object.")
    return invalid([_field_error(found) for found in error.errors])


def from_configuration_error(error: InvalidConfiguration) -> Problem:
    """A setting of operators is refused before anything else that is wrong."""
    if forbidden := [entry for entry in error.errors if entry.code == "operators_only"]:
        return Problem("right-missing", "Only operators of the platform may change these settings.", forbidden)
    return invalid(error.errors)


def _field_error(found: Any) -> FieldError:
    source, *path = found["loc"]
    names = path[1:] if source == "body" else path  # a body's path begins with the name of the handler's argument
    error = convert(found, names)
    return replace(error, code=_CODE_OF_SOURCE.get(str(source), error.code))


def render(problem: Problem, request: HttpRequest) -> HttpResponse:
    kind = KINDS[problem.kind]
    document = {
        "type": f"/api/v1/docs#{problem.kind}",
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail,
        "request_id": getattr(request, "request_id", ""),
    }
    if problem.errors:
        document["errors"] = [asdict(error) for error in problem.errors]
    return JsonResponse(document, status=kind.status, content_type=CONTENT_TYPE, headers=dict(problem.headers))


def problem_documents(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: an error page that Django made below /api/v1 (an unknown route, a refused host, an exception) becomes
    a problem document."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        is_inside = request.path == PREFIX or request.path.startswith(f"{PREFIX}/")
        if not is_inside or response.status_code < 400 or response.get("Content-Type") == CONTENT_TYPE:
            return response
        unknown = "internal" if response.status_code >= 500 else "refused"
        name = _KIND_OF_STATUS.get(response.status_code, unknown)
        headers = {name: response[name] for name in _KEPT_HEADERS if name in response}
        return render(Problem(name, KINDS[name].advice, headers=headers), request)

    return handle
