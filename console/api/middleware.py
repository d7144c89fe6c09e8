"""No error leaves /api/v1 as a page: what Django answers by itself becomes a problem document."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from console.api import problems

PREFIX = "/api/v1"
KEPT = ("Allow", "Retry-After")


def problem_documents(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    def handle(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if not _is_page(request, response):
            return response
        kept = {name: response[name] for name in KEPT if name in response}
        return problems.from_response(response.status_code, request, kept)

    return handle


def _is_page(request: HttpRequest, response: HttpResponseBase) -> bool:
    inside = request.path == PREFIX or request.path.startswith(f"{PREFIX}/")
    return inside and response.status_code >= 400 and response.get("Content-Type") != problems.CONTENT_TYPE
