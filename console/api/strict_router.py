"""Routes of the API: every operation needs a key, takes `?organization=`, and refuses unknown parameters."""

from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import ninja
from django.http import HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from ninja.constants import NOT_SET
from ninja.operation import Operation
from ninja.params import functions
from ninja.utils import contribute_operation_args

from console.api import auth
from console.api.field_types import Matching
from console.api.problems import Problem, invalid, render
from deployments.schema.errors import FieldError

Slug = Annotated[str, Matching(auth.SLUG, "Send the slug of an organization.")]
ABOUT_ORGANIZATION = "Slug of the organization. Operators can use any; other users only that of the key."


class Router(ninja.Router):
    """A GET needs the scope `read` and everything else `manage`, unless an operation states its own `auth`."""

    def add_api_operation(self, path: str, methods: list[str], view_func: Callable[..., Any], **options: Any) -> None:
        if options["auth"] is NOT_SET:
            options["auth"] = auth.READ if methods == ["GET"] else auth.MANAGE
        options["operation_id"] = view_func.__name__
        super().add_api_operation(path, methods, _with_known_parameters(view_func), **options)


def _with_known_parameters(handler: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(handler)
    def checked(request: auth.ApiRequest, organization: str | None, **values: Any) -> Any:
        """`organization` is checked here and was used by `KeyAuth`."""
        _check_names(request.GET, checked._ninja_operation)  # type: ignore[attr-defined]
        return handler(request, **values)

    about = functions.Query(None, description=ABOUT_ORGANIZATION)
    contribute_operation_args(checked, "organization", Slug | None, about)  # type: ignore[arg-type]
    return checked


def _check_names(query: QueryDict, operation: Operation) -> None:
    known = {
        name
        for model in operation.models
        if model.__ninja_param_source__ == "query"
        for name in model.__ninja_flatten_map__
    }
    errors = [
        FieldError(name[:100], "unknown_parameter", "There is no such parameter; remove it or correct its name.")
        if name not in known
        else FieldError(name, "invalid_parameter", "Send this parameter once.")
        for name, values in query.lists()
        if name not in known or len(values) > 1
    ]
    if errors:
        raise invalid(errors)


def answer_head_and_options(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """HEAD is a GET without its body, OPTIONS names the methods, which the library does for neither."""

    @wraps(view)
    def answer(request: HttpRequest, **path: str) -> HttpResponseBase:
        method = request.method
        request.method = "GET" if method == "HEAD" else method
        response = view(request, **path)
        request.method = method
        if response.status_code == 405:
            methods = {name.strip() for name in response["Allow"].split(",")}
            allow = ", ".join(sorted({*methods, "OPTIONS", *(["HEAD"] if "GET" in methods else [])}))
            if method == "OPTIONS":
                return HttpResponse(status=204, headers={"Allow": allow})
            problem = Problem("method-not-allowed", f"Use one of: {allow}.", headers={"Allow": allow})
            return render(problem, request)
        response.setdefault("Cache-Control", "no-store")
        is_endless = response.streaming and method == "HEAD"
        return HttpResponse(headers=response.headers) if is_endless else response

    return answer
