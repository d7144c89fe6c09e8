"""The playground: the console calls the deployment through its gateway as the person who asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from accounts.models import User
from accounts.roles import Right
from console import access
from console.components.deployment_header import make_header
from console.playground.forms import PlaygroundForm
from console.playground.gateway_client import KEYS, Measurements, Part, Problem, Text, ask
from console.streaming import sse
from deployments.models import Deployment

EVENTS = {Text: "text", Measurements: "figures", Problem: "problem"}


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
async def playground(request: HttpRequest, deployment_id: UUID) -> HttpResponseBase:
    """GET: the form as a page. POST: the answer, streamed to who accepts `text/event-stream`, else as a page."""
    user: User = await request.auser()  # type: ignore[assignment]
    deployment = await sync_to_async(_find_callable)(user, deployment_id)
    if request.method != "POST":
        return await _render_page(request, deployment, PlaygroundForm(), {})
    form = PlaygroundForm(request.POST)
    streams = "text/event-stream" in request.headers.get("accept", "")
    if not form.is_valid():
        if not streams:
            return await _render_page(request, deployment, form, {})
        words = " ".join(str(error) for errors in form.errors.values() for error in errors)
        return JsonResponse({"words": words}, status=422)
    now = timezone.now()  # noqa: TID251 - the edge: a request
    secret = await sync_to_async(KEYS.secret)(deployment, user, now)
    parts = _forget_refused_key(ask(deployment, secret, **form.cleaned_data), deployment, user)
    if not streams:
        return await _render_page(request, deployment, form, await _collect(parts))
    events = (sse.event(asdict(part), EVENTS[type(part)]) async for part in parts)
    return StreamingHttpResponse(events, content_type=sse.CONTENT_TYPE, headers=sse.HEADERS)


def _find_callable(user: User, deployment_id: UUID) -> Deployment:
    actor = access.actor_of(user)
    deployment = access.deployment(actor, str(deployment_id))
    if not actor.may(Right.CALL, deployment.organization_id):
        raise PermissionDenied("Your role can view deployments but not call them. Ask an admin of the organization.")
    return deployment


async def _forget_refused_key(parts: AsyncIterator[Part], deployment: Deployment, user: User) -> AsyncIterator[Part]:
    """The same parts; a key that the gateway refuses is not used again."""
    async for part in parts:
        if isinstance(part, Problem) and part.status == 401:
            KEYS.forget(deployment, user)
        yield part


async def _collect(parts: AsyncIterator[Part]) -> dict[str, Any]:
    answer: dict[str, Any] = {"text": ""}
    async for part in parts:
        match part:
            case Text(text):
                answer["text"] += text
            case Problem(words):
                answer["problem"] = words
            case Measurements():
                answer["figures"] = part
    return answer


@sync_to_async
def _render_page(
    request: HttpRequest, deployment: Deployment, form: PlaygroundForm, answer: dict[str, Any]
) -> HttpResponse:
    context = {"deployment": deployment, "header": make_header(deployment), "form": form, "answer": answer}
    return render(request, "playground/playground.html", context, status=422 if form.errors else 200)
