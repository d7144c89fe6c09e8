"""The logs of a deployment's replicas: the last lines as a page, what is added as a stream that the page's script
fetches, and the lines as a file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from accounts.models import User
from console import access
from console.access import Actor
from console.api.logs import rendered
from console.components.page_request import PageRequest
from console.forms.logs import PERIODS, LogForm
from console.live.consumers import signed_in
from console.live.fragments import deployment_context
from console.pages.log_lines import shown
from console.pages.overview import Overview
from console.streaming import log_stream, sse
from console.streaming.log_stream import Subject, Tail
from deployments.logs import MOST_LINES, Wanted
from deployments.states import ENDED, DeploymentStatus

MOST_SHOWN = 3000
OVER = (DeploymentStatus.TERMINATED, DeploymentStatus.FAILED)


@require_safe
@login_required
def logs(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    """`?replica=` chooses one; `q`, `period`, `since` and `until` choose lines."""
    now = timezone.now()  # noqa: TID251 - the edge: a page as of now
    subject = _subject(request.actor, deployment_id, request.GET.get("replica", ""))
    form = LogForm(request.GET)
    tail = log_stream.read(subject, form.wanted(now)) if form.is_valid() else Tail()
    overview = Overview(subject.deployment, now)
    context = {
        **deployment_context(request.actor, subject.deployment, overview),
        "chosen": next((row for row in overview.rows if row.replica == subject.replica), None),
        "form": form,
        "periods": PERIODS,
        "follows": form.is_valid() and form.wanted(now).until is None and not _is_over(subject, overview),
        "lines": shown(tail.lines, form.cleaned_data.get("q", ""), now),
        "trouble": tail.trouble,
    }
    return render(request, "deployments/logs.html", context)


@require_safe
@login_required
def download(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    """The lines that the page shows, as many as there may be at once, as the API gives them."""
    now = timezone.now()  # noqa: TID251 - the edge: lines up to now
    subject = _subject(request.actor, deployment_id, request.GET.get("replica", ""))
    form = LogForm(request.GET)
    if not form.is_valid():
        raise Http404("No such lines.")
    tail = log_stream.read(subject, form.wanted(now, MOST_LINES))
    headers = {"Content-Disposition": f'attachment; filename="{subject.deployment.name}-log.json"'}
    if tail.trouble:
        return HttpResponse(tail.trouble, status=503, content_type="text/plain; charset=utf-8")
    return JsonResponse({"data": [rendered(line) for line in tail.lines]}, headers=headers)


@require_safe
@login_required
async def stream(request: HttpRequest, deployment_id: UUID, replica_id: UUID | None = None) -> HttpResponseBase:
    """Server-sent events: `lines` with a list of lines that were added, `trouble` with words, `ended` at the end."""
    user: User = await request.auser()  # type: ignore[assignment]
    reference = str(replica_id or "")
    await sync_to_async(lambda: _subject(access.actor_of(user), deployment_id, reference))()
    form, now = LogForm(request.GET), timezone.now()  # noqa: TID251 - the edge: what is wanted as of now
    if not form.is_valid():
        raise Http404("No such lines.")

    session_key = request.session.session_key
    stream = _events(session_key, deployment_id, reference, form.wanted(now))
    return StreamingHttpResponse(stream, content_type=sse.CONTENT_TYPE, headers=sse.HEADERS)


async def _events(session_key: str | None, deployment_id: UUID, reference: str, wanted: Wanted) -> AsyncIterator[bytes]:
    """What the log holds, then what is added, until it has ended or the session may not see it any more."""

    def allowed() -> Subject | None:
        actor = signed_in(session_key)
        try:
            return _subject(actor, deployment_id, reference) if actor else None
        except Http404:
            return None

    is_first = True
    async for tail in log_stream.follow(allowed, wanted):
        if tail.trouble:
            yield sse.event({"words": tail.trouble}, "trouble")
        elif tail.lines or is_first:
            now = timezone.now()  # noqa: TID251 - the edge: what is said now
            lines = [asdict(one) for one in shown(tail.lines[-MOST_SHOWN:], wanted.text, now)]
            yield sse.event({"lines": lines, "anew": is_first}, "lines")
            is_first = False
        else:
            yield sse.HEARTBEAT
    yield sse.event({}, "ended")


def _subject(actor: Actor, deployment_id: UUID, reference: str) -> Subject:
    found = access.deployment(actor, str(deployment_id))
    return Subject(found, access.replica(actor, found, reference) if reference else None)


def _is_over(subject: Subject, overview: Overview) -> bool:
    """Whether nothing more will be written."""
    if subject.replica:
        return subject.replica.state in ENDED
    return not overview.live and subject.deployment.status in OVER
