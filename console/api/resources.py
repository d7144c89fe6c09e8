"""One view for every address of the API: method, key, scope, parameters, body, and then the operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import groupby
from operator import attrgetter
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from console.api import auth, idempotency, parameters, problems, reading
from console.api.changes import IF_MATCH
from console.api.operations import Answer, Call, Operation
from console.api.problems import Problem
from console.streaming import sse

View = Callable[..., HttpResponseBase]


def urls(operations: tuple[Operation, ...]) -> list[URLPattern]:
    """A route for each path, named by it: `deployments`, `deployments-id-terminate`, …"""
    by_path = groupby(sorted(operations, key=attrgetter("path")), key=attrgetter("path"))
    return [_route(address, {one.method: one for one in methods}) for address, methods in by_path]


def _route(address: str, methods: Mapping[str, Operation]) -> URLPattern:
    name = address.strip("/").replace("/", "-").replace("{", "").replace("}", "")
    return path(address.strip("/").replace("{id}", "<str:id>"), resource(methods), name=name)


def resource(methods: Mapping[str, Operation]) -> View:
    """The view for what one path can do. HEAD is a GET without its body, OPTIONS names the methods."""
    allow = ", ".join(sorted({*methods, "OPTIONS", *(["HEAD"] if "GET" in methods else [])}))

    @csrf_exempt
    def view(request: HttpRequest, **path: str) -> HttpResponseBase:
        method = "GET" if request.method == "HEAD" else request.method
        if method == "OPTIONS":
            return HttpResponse(status=204, headers={"Allow": allow})
        operation = methods.get(method or "")
        try:
            if operation is None:
                raise Problem("method-not-allowed", f"Use one of: {allow}.", headers={"Allow": allow})
            response = _perform(operation, request, path)
            is_endless = response.streaming and request.method == "HEAD"
            return HttpResponse(headers=response.headers) if is_endless else response
        except Problem as problem:
            return problems.answer(problem, request)

    return view


def _perform(operation: Operation, request: HttpRequest, path: Mapping[str, str]) -> HttpResponseBase:
    now = timezone.now()  # noqa: TID251
    key = auth.authenticate(request, now)
    auth.check_scope(key, operation.scope)
    query = parameters.read(request.GET, operation.all_parameters)
    headers = dict(parameters.read_headers(request.headers, operation.headers))
    if operation.is_guarded:
        headers[IF_MATCH] = request.headers.get(IF_MATCH)
    caller = auth.caller_of(key, query["organization"])
    body = _body(operation, request) if operation.body else None
    if "\0" in "".join(path.values()):
        raise problems.missing("thing")
    call = Call(caller, path, query, body, now, headers)
    repeat_key = idempotency.key_of(request.headers.get(idempotency.HEADER)) if operation.is_repeatable else None
    if repeat_key is None:
        return _respond(operation.perform(call))
    answer, replayed = idempotency.once(
        lambda: operation.perform(call), caller=caller, address=request.path, key=repeat_key, body=body, now=now
    )
    return _respond(answer, {"Idempotency-Replayed": "true"} if replayed else {})


def _body(operation: Operation, request: HttpRequest) -> Any:
    return reading.body(request, required=operation.body_required, media_types=operation.media_types)


def _respond(answer: Answer, headers: Mapping[str, str] | None = None) -> HttpResponseBase:
    told = {"Cache-Control": "no-store", **answer.headers, **(headers or {})}
    if answer.stream is not None:
        return StreamingHttpResponse(answer.stream, content_type=sse.CONTENT_TYPE, headers=told | sse.HEADERS)
    if answer.data is None:
        return HttpResponse(status=answer.status, headers=told)
    return JsonResponse(answer.data, status=answer.status, headers=told)
