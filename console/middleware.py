"""What every response of the console carries: a request id and a strict content security policy."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

from django.contrib.messages.middleware import MessageMiddleware
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.functional import SimpleLazyObject
from django.views.defaults import page_not_found
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import StaticFile

from deployments.models import Deployment

Handler = Callable[[HttpRequest], HttpResponseBase]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'"
)


def request_id(get_response: Handler) -> Handler:
    def handle(request: HttpRequest) -> HttpResponseBase:
        request.request_id = f"req_{uuid.uuid4().hex}"  # type: ignore[attr-defined]
        response = get_response(request)
        response["x-request-id"] = request.request_id  # type: ignore[attr-defined]
        return response

    return handle


class FlashMessages(MessageMiddleware):
    """Messages for the next page: the answer to a HEAD has no body that shows them, so they stay."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if request.method == "HEAD" and hasattr(request, "_messages"):
            request._messages.used = False
        return super().process_response(request, response)


class DeletedMeanwhile:
    """A page of what was deleted between its lookup and its lock is 404, as if it was deleted before."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        return page_not_found(request, exception) if isinstance(exception, Deployment.DoesNotExist) else None


def content_security_policy(get_response: Handler) -> Handler:
    def handle(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        response.setdefault("Content-Security-Policy", POLICY)
        return response

    return handle


def actor(get_response: Handler) -> Handler:
    """`request.actor`: who the signed-in person is to console/access.py; one query, at first use."""
    from console.access import actor_of

    def handle(request: HttpRequest) -> HttpResponseBase:
        request.actor = SimpleLazyObject(lambda: actor_of(request.user))  # type: ignore[attr-defined, arg-type]
        return get_response(request)

    return handle


class StaticFiles(WhiteNoiseMiddleware):  # type: ignore[misc]  # whitenoise is untyped
    """WhiteNoise whose answers suit ASGI: its own are synchronous iterators, which Django warns about and reads whole
    into memory anyway. A folder that does not exist is no reason to warn: files come from the finders then."""

    def add_files(self, root: str, prefix: str | None = None) -> None:
        if Path(root).is_dir():
            super().add_files(root, prefix)

    @staticmethod
    def serve(static_file: StaticFile, request: HttpRequest) -> HttpResponse:
        found = static_file.get_response(request.method, request.META)
        headers, body = dict(found.headers), b""
        if found.file is not None:
            with found.file:
                body = found.file.read()
            headers["Content-Length"] = str(len(body))  # not as it was when the process started
        return HttpResponse(body, status=int(found.status), headers=headers)
