"""A deployment's events: a page of them, or as they happen.

A notification wakes a stream, the rows are the truth: with all notifications lost an event comes `LOOK_SECONDS` late.
Who writes events of a deployment has its row locked, so a higher id never commits first.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any
from uuid import UUID

import redis
from channels.layers import get_channel_layer
from django.http import Http404, StreamingHttpResponse
from django.utils import timezone
from ninja import HeaderEx, P, Query
from pydantic import Field

from accounts.roles import Scope
from console import access
from console.api import auth
from console.api.auth import ApiRequest
from console.api.deployments import Reference, find_deployment, render_cause
from console.api.field_types import Flag, Matching, Resource, Time
from console.api.pagination import LatestFirst, Page
from console.api.server_sent_events import describe_stream, stream
from console.api.strict_router import Router
from console.streaming import sse
from console.streaming.thread_pools import Threads
from deployments.messages import describe_reason
from deployments.models import Deployment, DeploymentEvent

router = Router(tags=["Deployments"])
THREADS = Threads("events", 4)
LOOK_SECONDS = 4.0
PAUSE_SECONDS = 0.1
HEARTBEAT_SECONDS = 15.0
MOST = 500
ABOUT_STREAM = (
    "One server-sent event per Event, with its ID; comments keep the connection open. `event: ended` comes last, "
    "when the deployment is deleted or the key loses access to it."
)
EventId = Annotated[str, Matching("[0-9]{1,18}", "Send the ID of an event.")]
LastEventId = HeaderEx[
    EventId | None,
    P(alias="Last-Event-ID", description="Like `after`; sent by clients that reconnect."),
]


class Event(Resource):
    id: str
    at: Time
    kind: str
    actor: str
    summary: str
    data: dict[str, Any]


class EventPage(Page):
    data: list[Event]


class EventParameters(LatestFirst):
    follow: Flag = Field(False, description="Whether to stream new events as server-sent events.")
    after: EventId | None = Field(None, description="With follow: start after the event with this ID.")


@router.get(
    "/deployments/{str:id}/events",
    response=EventPage,
    summary="List events",
    openapi_extra=describe_stream(ABOUT_STREAM),
)
def list_events(
    request: ApiRequest, id: Reference, parameters: Query[EventParameters], last_event_id: LastEventId = None
) -> EventPage | StreamingHttpResponse:
    """Returns the latest events first. With `follow=true`, new events, or those after an event, are streamed as
    server-sent events."""
    deployment = find_deployment(request.auth, id)
    if not parameters.follow:
        rows, next_cursor = parameters.read(deployment.events.all())
        return EventPage(data=[_render(row) for row in rows], next_cursor=next_cursor)
    after = last_event_id or parameters.after
    events = Events(deployment, int(after) if after else None)

    def is_allowed() -> bool:
        caller = auth.recheck(request.auth, Scope.READ, timezone.now())  # noqa: TID251 - the edge: a look
        try:
            return caller is not None and bool(access.deployment(caller.actor, str(deployment.pk)))
        except Http404:
            return False

    return stream(_stream(deployment.pk, events, is_allowed))


def _render(row: DeploymentEvent) -> Event:
    return Event(
        id=str(row.pk), at=row.at, kind=row.kind, actor=row.actor, summary=row.summary, data=_render_facts(row.facts)
    )


def _render_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts as they are stored; a cause and a reason with what they say, and the autoscaler's inputs beside it."""
    data = dict(facts)
    if cause := facts.get("cause"):
        data["cause"] = cause | dict(render_cause(cause) or {})
    if reason := facts.get("reason"):
        data["reason"] = {**reason, "message": describe_reason(reason).sentence}
        if "load" in reason["facts"]:
            data["inputs"] = reason["facts"]
    return data


class Events:
    """The events of a deployment behind the one with the id `after`; without one, those to come."""

    def __init__(self, deployment: Deployment, after: int | None) -> None:
        self._deployment_id = deployment.pk
        newest = DeploymentEvent.objects.filter(deployment=deployment).order_by("-pk").values_list("pk", flat=True)
        self._last = newest.first() or 0 if after is None else after

    def look(self) -> list[DeploymentEvent]:
        """The next ones, MOST at most."""
        rows = DeploymentEvent.objects.filter(deployment_id=self._deployment_id, pk__gt=self._last)
        found = list(rows.order_by("pk")[:MOST])
        if found:
            self._last = found[-1].pk
        return found


async def _stream(deployment_id: UUID, events: Events, is_allowed: Callable[[], bool]) -> AsyncIterator[bytes]:
    """An event of the stream for each event; `ended` once `is_allowed`, asked at every look, says no."""
    async with _notifications(f"deployment.{deployment_id}") as notified:
        yield sse.HEARTBEAT
        said_at = time.monotonic()
        while True:
            notified.clear()
            is_still_allowed, found = await THREADS.run(_look, events, is_allowed)
            for row in found:
                yield sse.event(_render(row).model_dump(mode="json"), event_id=str(row.pk))
            if not is_still_allowed:
                yield sse.event({}, "ended")
                return
            if found:
                said_at = time.monotonic()
            elif time.monotonic() - said_at > HEARTBEAT_SECONDS - LOOK_SECONDS:
                said_at = time.monotonic()
                yield sse.HEARTBEAT
            if len(found) < MOST:
                await _wait(notified)


def _look(events: Events, is_allowed: Callable[[], bool]) -> tuple[bool, list[DeploymentEvent]]:
    """Rights first: what happened after they ended is not told."""
    return (True, events.look()) if is_allowed() else (False, [])


async def _wait(notified: asyncio.Event) -> None:
    await asyncio.sleep(PAUSE_SECONDS)  # many notifications in a row are one look
    with suppress(TimeoutError):
        await asyncio.wait_for(notified.wait(), LOOK_SECONDS - PAUSE_SECONDS)


@asynccontextmanager
async def _notifications(group: str) -> AsyncIterator[asyncio.Event]:
    """Set at every notification of `group`, as long as Redis can be reached."""
    notified = asyncio.Event()
    task = asyncio.create_task(_listen(group, notified))
    try:
        yield notified
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _listen(group: str, notified: asyncio.Event) -> None:
    layer = get_channel_layer()
    while True:
        with suppress(redis.RedisError, OSError):
            channel = await layer.new_channel()
            await layer.group_add(group, channel)
            try:
                while True:
                    await layer.receive(channel)
                    notified.set()
            finally:
                with suppress(redis.RedisError, OSError):
                    await layer.group_discard(group, channel)
        await asyncio.sleep(LOOK_SECONDS)
