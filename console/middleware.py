"""What every request of the console passes through. Each response has a request id and a strict content security
policy; a session records when it was used."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path

from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.contrib.messages.middleware import MessageMiddleware
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.utils.functional import SimpleLazyObject
from django.views.defaults import page_not_found
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import StaticFile

from deployments.config.deployment_spec import UnreadableSpec
from deployments.models import Deployment

Handler = Callable[[HttpRequest], HttpResponseBase]
ACTIVITY_SECONDS = 60.0

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


class UnreadableConfiguration:
    """A page that needs a configuration that this release cannot read, such as the form that edits it, says so on the
    page of the deployment, which can do without."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        deployment_id = request.resolver_match.kwargs.get("deployment_id") if request.resolver_match else None
        if not isinstance(exception, UnreadableSpec) or deployment_id is None:
            return None
        messages.error(
            request,
            f"{UnreadableSpec.PROBLEM} Nothing was changed. {UnreadableSpec.ACTION}",
        )
        return redirect("deployment", deployment_id)


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


class SessionActivity:
    """Records when and from where each session was last used, for the list on the profile: at most once in
    ACTIVITY_SECONDS and process, since each record is a write."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response
        self._recorded_at: dict[str, float] = {}  # by session key

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        key = request.session.session_key
        if key and request.session.accessed and request.user.is_authenticated:
            now = time.monotonic()
            if now - self._recorded_at.get(key, -ACTIVITY_SECONDS) >= ACTIVITY_SECONDS:
                recent = {key: at for key, at in self._recorded_at.items() if now - at < ACTIVITY_SECONDS}
                self._recorded_at = {**recent, key: now}
                UserSession.objects.create_from_request(request)
        return response


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
