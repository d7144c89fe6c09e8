"""A replica's log: the last lines as a page, and what is added as a stream that the page's script fetches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from accounts.models import User
from console import access
from console.live import logtail, sse
from console.live.consumers import signed_in
from console.live.fragments import deployment_context
from console.pages.overview import Overview
from console.pages.replica_rows import ReplicaRow
from console.requests import PageRequest
from deployments.drivers.base import LogLine
from deployments.models import Deployment, Replica
from deployments.states import ENDED

POLL_SECONDS = 1.0
RECHECK_POLLS = 5


@require_safe
@login_required
def logs(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    """`?replica=` chooses one; without it the newest that lives, else the newest."""
    found = access.deployment(request.actor, str(deployment_id))
    overview = Overview(found, timezone.now())  # noqa: TID251 - the edge: a page as of now
    chosen = _chosen(overview, request.GET.get("replica", ""))
    tail = logtail.read(chosen.replica) if chosen else logtail.Tail()
    context = deployment_context(request.actor, found, overview)
    return render(request, "deployments/logs.html", {**context, "chosen": chosen, "tail": tail})


def _chosen(overview: Overview, reference: str) -> ReplicaRow | None:
    if not reference:
        return next(iter(overview.live or overview.rows), None)
    found = next((row for row in overview.rows if str(row.replica.pk) == reference), None)
    if found is None:
        raise Http404("No such replica.")
    return found


@require_safe
@login_required
async def log_stream(request: HttpRequest, deployment_id: UUID, replica_id: UUID) -> HttpResponseBase:
    """Server-sent events: `lines` with a list of lines that were added, `trouble` with words, `ended` at the end."""
    user: User = await request.auser()  # type: ignore[assignment]
    await sync_to_async(_replica)(user, deployment_id, replica_id)
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    stream = _follow(request.session.session_key, deployment_id, replica_id)
    return StreamingHttpResponse(stream, content_type="text/event-stream; charset=utf-8", headers=headers)


async def _follow(session_key: str | None, deployment_id: UUID, replica_id: UUID) -> AsyncIterator[bytes]:
    """What the replica's log holds, then what is added, until it has ended or the session may not see it any more."""
    before: list[LogLine] = []
    polls = 0
    replica = None
    while True:
        if replica is None or polls % RECHECK_POLLS == 0:
            replica = await logtail.THREADS.run(_still, session_key, deployment_id, replica_id)
        if replica is None:
            yield sse.event({}, "ended")
            return
        tail = await logtail.THREADS.run(logtail.read, replica)
        added, before = logtail.added(before, tail.lines), tail.lines or before
        if tail.trouble:
            yield sse.event({"words": tail.trouble}, "trouble")
        elif added or polls == 0:
            yield sse.event({"lines": [line.text for line in added], "anew": polls == 0}, "lines")
        else:
            yield b":\n\n"
        if replica.state in ENDED:
            yield sse.event({}, "ended")
            return
        polls += 1
        await asyncio.sleep(POLL_SECONDS)


def _replica(user: User, deployment_id: UUID, replica_id: UUID) -> Replica:
    actor = access.actor_of(user)
    deployment: Deployment = access.deployment(actor, str(deployment_id))
    return access.replica(actor, deployment, str(replica_id))


def _still(session_key: str | None, deployment_id: UUID, replica_id: UUID) -> Replica | None:
    """The replica, if who has the session may still see it."""
    actor = signed_in(session_key)
    try:
        return _replica(actor.user, deployment_id, replica_id) if actor else None
    except Http404:
        return None
