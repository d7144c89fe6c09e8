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
from console.forms.playground import PlaygroundForm
from console.live.fragments import deployment_context
from console.live.playground import KEYS, Figures, Part, Problem, Text, ask
from console.pages.overview import Overview
from console.streaming import sse
from deployments.models import Deployment

EVENTS = {Text: "text", Figures: "figures", Problem: "problem"}


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
async def playground(request: HttpRequest, deployment_id: UUID) -> HttpResponseBase:
    """GET: the form as a page. POST: the answer, streamed to who accepts `text/event-stream`, else as a whole page."""
    user: User = await request.auser()  # type: ignore[assignment]
    deployment = await sync_to_async(_callable)(user, deployment_id)
    if request.method != "POST":
        return await _page(request, user, deployment, PlaygroundForm(), {})
    form = PlaygroundForm(request.POST)
    streams = "text/event-stream" in request.headers.get("accept", "")
    if not form.is_valid():
        words = " ".join(str(error) for errors in form.errors.values() for error in errors)
        return (
            JsonResponse({"words": words}, status=422) if streams else await _page(request, user, deployment, form, {})
        )
    now = timezone.now()  # noqa: TID251 - the edge: a request
    secret = await sync_to_async(KEYS.secret)(deployment, user, now)
    parts = _noting_refusals(ask(deployment, secret, **form.cleaned_data), deployment, user)
    if not streams:
        return await _page(request, user, deployment, form, await _whole(parts))
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingHttpResponse(_events(parts), content_type="text/event-stream; charset=utf-8", headers=headers)


def _callable(user: User, deployment_id: UUID) -> Deployment:
    actor = access.actor_of(user)
    found = access.deployment(actor, str(deployment_id))
    if not actor.may(Right.CALL, found.organization_id):
        raise PermissionDenied("Your role may look at deployments, not call them. Ask an admin of the organization.")
    return found


async def _noting_refusals(parts: AsyncIterator[Part], deployment: Deployment, user: User) -> AsyncIterator[Part]:
    """The same parts; a key that the gateway refuses is not used again."""
    async for part in parts:
        if isinstance(part, Problem) and part.status == 401:
            KEYS.forget(deployment, user)
        yield part


async def _events(parts: AsyncIterator[Part]) -> AsyncIterator[bytes]:
    async for part in parts:
        yield sse.event(asdict(part), EVENTS[type(part)])


async def _whole(parts: AsyncIterator[Part]) -> dict[str, Any]:
    answer: dict[str, Any] = {"text": ""}
    async for part in parts:
        match part:
            case Text(text):
                answer["text"] += text
            case Problem(words):
                answer["problem"] = words
            case Figures():
                answer["figures"] = part
    return answer


@sync_to_async
def _page(
    request: HttpRequest, user: User, deployment: Deployment, form: PlaygroundForm, answer: dict[str, Any]
) -> HttpResponse:
    overview = Overview(deployment, timezone.now())  # noqa: TID251 - the edge: a page as of now
    context = deployment_context(access.actor_of(user), deployment, overview)
    status = 422 if form.errors else 200
    return render(request, "deployments/playground.html", {**context, "form": form, "answer": answer}, status=status)
