"""Every error of the API is a problem document (RFC 9457): {"type", "title", "status", "detail", "request_id"}, with
`errors: [{"field", "code", "message"}]` for bad input. `type` is an address on the readable page of the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from ninja.errors import ValidationError

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
    "malformed": Kind(400, "The request cannot be read", "Send one JSON value, UTF-8, as the OpenAPI document says."),
    "unauthenticated": Kind(
        401,
        "No usable API key",
        "Send Authorization: Bearer mc_… with a key that exists, has not expired and was not revoked.",
    ),
    "scope-missing": Kind(
        403,
        "The key lacks the scope",
        "Use a key of scope manage; read is enough for GET. A key's scopes never change.",
    ),
    "right-missing": Kind(
        403,
        "Your role does not allow this",
        "Ask an owner of the organization for another role, or somebody who has it.",
    ),
    "not-found": Kind(
        404, "There is no such thing", "Check the address and the id; what the key may not see does not exist for it."
    ),
    "method-not-allowed": Kind(
        405, "The method is not allowed here", "The Allow header lists the methods of the address."
    ),
    "name-taken": Kind(
        409, "The name is taken", "Choose another name, or send the body that made the existing deployment."
    ),
    "not-ended": Kind(
        409, "The deployment has not ended", "POST …/terminate, wait until its status is TERMINATED, then delete it."
    ),
    "idempotency-key-reused": Kind(
        409,
        "The Idempotency-Key belongs to another request",
        "Use a new key for a new request; keys are kept for 24 hours.",
    ),
    "not-now": Kind(
        409, "The deployment's status does not allow this", "The detail says what does; status tells when it has come."
    ),
    "changed-meanwhile": Kind(
        412,
        "Somebody changed it since you read it",
        "Read it again, and send the change with If-Match and the new ETag.",
    ),
    "too-large": Kind(413, "The request is too large", "Send at most 1 MiB."),
    "unsupported-media-type": Kind(
        415,
        "The body is not JSON",
        "Send Content-Type: application/json; a PATCH may say application/merge-patch+json.",
    ),
    "invalid-input": Kind(422, "The input cannot be used", "Each entry of errors names a field and says what to send."),
    "refused": Kind(400, "The request was refused", "Check the request line and the headers."),
    "log-unavailable": Kind(
        503, "The cluster cannot be asked for the log", "Try again in a moment; what has ended keeps its log here."
    ),
    "internal": Kind(
        500, "Something went wrong here", "Try again; if it happens again, report the request_id to your operator."
    ),
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
