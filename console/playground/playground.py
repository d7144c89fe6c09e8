"""The playground: the console calls the deployment through its gateway as the person who asks."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db.models import Min
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from accounts.models import User
from accounts.roles import Right
from console import access
from console.components.deployment_header import make_header
from console.components.page_request import PageRequest
from console.playground.answer import Measurements, Part, Problem, Text
from console.playground.cold_start import Waiting, describe_wait, split_cold_start
from console.playground.forms import PlaygroundForm
from console.playground.gateway_client import KEYS, ask
from console.streaming import sse
from deployments import queries
from deployments.models import Deployment
from deployments.states import LIVE, ReplicaState

EVENTS = {Text: "text", Measurements: "figures", Problem: "problem", Waiting: "waiting"}
REPORT_SECONDS = 1.0


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
async def playground(request: PageRequest, deployment_id: UUID) -> HttpResponseBase:
    """GET: the form as a page. POST: the answer, streamed to who accepts `text/event-stream`, else as a page."""
    user: User = await request.auser()  # type: ignore[assignment]
    deployment = await sync_to_async(_find_callable)(user, deployment_id)
    if request.method != "POST":
        return await _render_page(request, deployment, PlaygroundForm(), {})
    if "clear" in request.POST:
        return redirect("playground", deployment.pk)
    form = PlaygroundForm(request.POST)
    streams = "text/event-stream" in request.headers.get("accept", "")
    if not form.is_valid():
        if not streams:
            return await _render_page(request, deployment, form, {})
        errors = {name: " ".join(str(error) for error in found) for name, found in form.errors.items()}
        return JsonResponse({"errors": errors}, status=422)
    now = timezone.now()  # noqa: TID251 - the edge: a request
    secret = await sync_to_async(KEYS.secret)(deployment, user, now)
    answer = _forget_refused_key(ask(deployment, secret, form.question), deployment, user)
    parts = _follow_start(answer, deployment, now)
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


async def _follow_start(
    parts: AsyncIterator[Part], deployment: Deployment, asked_at: datetime
) -> AsyncIterator[Part | Waiting]:
    """The same parts; until the first one comes, what they wait for, every REPORT_SECONDS. If no replica was ready when
    the question was asked, the measurements tell the cold start apart."""
    is_cold = not await sync_to_async(_has_ready_replica)(deployment)
    began = time.monotonic()
    async with aclosing(parts):  # type: ignore[type-var]
        first = asyncio.ensure_future(anext(parts))
        try:
            while not (await asyncio.wait({first}, timeout=REPORT_SECONDS))[0]:
                yield await sync_to_async(_read_wait)(deployment, time.monotonic() - began)
            yield await _tell_cold_start(first.result(), deployment, asked_at, is_cold)
        finally:
            first.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait({first})
        async for part in parts:
            yield await _tell_cold_start(part, deployment, asked_at, is_cold)


def _has_ready_replica(deployment: Deployment) -> bool:
    return deployment.replicas.filter(state=ReplicaState.READY, serving=True).exists()


def _read_wait(deployment: Deployment, seconds: float) -> Waiting:
    states = list(deployment.replicas.filter(state__in=LIVE).values_list("state", flat=True))
    return describe_wait(states, queries.measure_starts(deployment).total, seconds)


async def _tell_cold_start(part: Part, deployment: Deployment, asked_at: datetime, is_cold: bool) -> Part:
    if not isinstance(part, Measurements) or not is_cold:
        return part
    found = await deployment.replicas.filter(ready_at__gte=asked_at).aaggregate(first=Min("ready_at"))
    return split_cold_start(part, asked_at, found["first"])


async def _collect(parts: AsyncIterator[Part | Waiting]) -> dict[str, Any]:
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
    """A complete answer joins the conversation; after a problem the message stays in its field."""
    turns = form.cleaned_data.get("history", []) if form.is_bound else []
    is_complete = "figures" in answer
    if is_complete:
        message = {"role": "user", "content": form.cleaned_data["message"]}
        turns = [*turns, message, {"role": "assistant", "content": answer["text"]}]
    context = {
        "deployment": deployment,
        "header": make_header(deployment),
        "form": form,
        "turns": turns,
        "history": json.dumps(turns) if turns else form["history"].value() or "",
        "message": "" if is_complete else form["message"].value() or "",
        "answer": answer,
    }
    return render(request, "playground/playground.html", context, status=422 if form.errors else 200)
