"""The API as one application: its routers, and how the exceptions that handlers let through are answered."""

from collections.abc import Callable

from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from console.api import (
    api_keys,
    deployments,
    endpoints,
    events,
    gpu_types,
    json_body,
    limits,
    logs,
    models,
    organizations,
    problems,
    replicas,
    revisions,
    usage,
)
from console.api.auth import MANAGE, unauthenticated
from console.api.openapi import Document
from console.api.problems import Problem
from deployments import services
from deployments.config.deployment_spec import UnreadableSpec
from deployments.models import Deployment
from deployments.schema.errors import InvalidConfiguration

ABOUT = (
    "Every request needs `Authorization: Bearer mc_…`. A key gives access to one organization. "
    "Times are RFC 3339 in UTC, IDs are opaque, lists are paginated, and errors are problem documents (RFC 9457). "
    "Unknown fields and parameters are rejected. A POST with an Idempotency-Key is executed once within 24 hours."
)


class Application(NinjaAPI):
    def get_openapi_schema(self, **_: object) -> Document:
        return Document(self)


api = Application(
    title="Models Console",
    version="1",
    description=ABOUT,
    servers=[{"url": problems.PREFIX}],
    openapi_url=None,
    urls_namespace="api",
    auth=MANAGE,
    parser=json_body.StrictParser(),
)
for module in (
    deployments, revisions, replicas, limits, events, logs, models, gpu_types, endpoints, api_keys, usage, organizations
):  # fmt: skip
    api.add_router("", module.router)


def _answer(exception: type[Exception], problem_of: Callable[..., Problem]) -> None:
    def handle(request: HttpRequest, error: Exception) -> HttpResponse:
        return problems.render(problem_of(error), request)

    api.add_exception_handler(exception, handle)  # type: ignore[arg-type]


def _problem_of_conflict(conflict: services.VersionConflict) -> Problem:
    detail = f"{conflict} Nothing was written. Read it again, and send your change with its ETag."
    return Problem("changed-meanwhile", detail, headers={"ETag": f'"{conflict.current}"'})


def _problem_of_http_error(error: HttpError) -> Problem:
    """What a parser raises comes wrapped."""
    cause = error.__cause__
    return cause if isinstance(cause, Problem) else Problem("malformed", str(error))


@api.exception_handler(Exception)
def _raise(request: HttpRequest, error: Exception) -> HttpResponse:
    """Django logs it and answers; `problem_documents` makes a problem of that."""
    raise error


_answer(Problem, lambda problem: problem)
_answer(ValidationError, problems.from_validation_error)
_answer(HttpError, _problem_of_http_error)
_answer(RequestDataTooBig, lambda _: json_body.too_large())
_answer(UnreadablePostError, lambda _: Problem("malformed", "The body is shorter than its Content-Length."))
_answer(AuthenticationError, lambda _: unauthenticated("Send an API key: Authorization: Bearer mc_…."))
_answer(Http404, lambda _: problems.missing("thing"))
_answer(InvalidConfiguration, problems.from_configuration_error)
_answer(services.NameTaken, lambda error: Problem("name-taken", str(error), [error.error]))
_answer(services.NotNow, lambda error: Problem("not-now", str(error)))
_answer(services.NotEnded, lambda error: Problem("not-ended", str(error)))
_answer(services.UnknownRevision, lambda error: Problem("not-found", str(error), [error.error]))
_answer(services.VersionConflict, _problem_of_conflict)
_answer(UnreadableSpec, lambda _: Problem("configuration-unreadable", f"{UnreadableSpec.PROBLEM} Nothing was changed."))
_answer(Deployment.DoesNotExist, lambda _: problems.missing("deployment"))
