"""A deployment's events as they happen. A hint wakes a stream, the rows are the truth: with all hints lost an event
comes `LOOK_SECONDS` late. Who writes events of a deployment has its row locked, so a higher id never commits first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from uuid import UUID

import redis
from channels.layers import get_channel_layer
from django.http import Http404
from django.utils import timezone

from accounts.roles import Scope
from console import access
from console.api import auth, deployments
from console.api.operations import Answer, Call
from console.api.parameters import Choice, Text
from console.streaming import sse
from console.streaming.threads import Threads
from deployments.models import Deployment, DeploymentEvent

THREADS = Threads("events", 4)
LOOK_SECONDS = 4.0
PAUSE_SECONDS = 0.1
HEARTBEAT_SECONDS = 15.0
MOST = 500
BAD_ID = "Send the id of an event."


FOLLOW = Choice("follow", "Whether to stream what happens.", default="false", among=("true", "false"))
AFTER = Text(
    "after", "With follow: also what came after the event with this id.", pattern="[0-9]{1,18}", message=BAD_ID
)
LAST_EVENT_ID = Text(
    "Last-Event-ID", "As `after`; what a client sends that connects again.", pattern="[0-9]{1,18}", message=BAD_ID
)
PARAMETERS = (FOLLOW, AFTER)
STREAMED = (
    "An event for each Event, whose id is the event's; comments keep the connection open. `event: ended` comes last, "
    "when the deployment was deleted or the key may not see it any more."
)


def listed(call: Call) -> Answer:
    """A page, or with `follow` a stream."""
    if call.query["follow"] != "true":
        return deployments.events(call)
    deployment = deployments.named(call)
    after = call.headers["Last-Event-ID"] or call.query["after"]
    events = Events(deployment, int(after) if after else None)

    def is_allowed() -> bool:
        caller = auth.still(call.caller, Scope.READ, timezone.now())  # noqa: TID251 - the edge: a look
        try:
            return caller is not None and bool(access.deployment(caller.actor, str(deployment.pk)))
        except Http404:
            return False

    return Answer(200, stream=stream(deployment.pk, events, is_allowed))


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


async def stream(deployment_id: UUID, events: Events, is_allowed: Callable[[], bool]) -> AsyncIterator[bytes]:
    """An event of the stream for each event; `ended` once `is_allowed`, asked at every look, says no."""
    async with _hints(f"deployment.{deployment_id}") as hinted:
        yield sse.HEARTBEAT
        said_at = time.monotonic()
        while True:
            hinted.clear()
            is_still_allowed, found = await THREADS.run(_look, events, is_allowed)
            for row in found:
                yield sse.event(deployments.event(row), event_id=str(row.pk))
            if not is_still_allowed:
                yield sse.event({}, "ended")
                return
            if found:
                said_at = time.monotonic()
            elif time.monotonic() - said_at > HEARTBEAT_SECONDS - LOOK_SECONDS:
                said_at = time.monotonic()
                yield sse.HEARTBEAT
            if len(found) < MOST:
                await _wait(hinted)


def _look(events: Events, is_allowed: Callable[[], bool]) -> tuple[bool, list[DeploymentEvent]]:
    """Rights first: what happened after they ended is not told."""
    return (True, events.look()) if is_allowed() else (False, [])


async def _wait(hinted: asyncio.Event) -> None:
    await asyncio.sleep(PAUSE_SECONDS)  # many hints in a row are one look
    with suppress(TimeoutError):
        await asyncio.wait_for(hinted.wait(), LOOK_SECONDS - PAUSE_SECONDS)


@asynccontextmanager
async def _hints(group: str) -> AsyncIterator[asyncio.Event]:
    """Set at every hint of `group`, as long as Redis can be reached."""
    hinted = asyncio.Event()
    task = asyncio.create_task(_listen(group, hinted))
    try:
        yield hinted
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _listen(group: str, hinted: asyncio.Event) -> None:
    layer = get_channel_layer()
    while True:
        with suppress(redis.RedisError, OSError):
            channel = await layer.new_channel()
            await layer.group_add(group, channel)
            try:
                while True:
                    await layer.receive(channel)
                    hinted.set()
            finally:
                with suppress(redis.RedisError, OSError):
                    await layer.group_discard(group, channel)
        await asyncio.sleep(LOOK_SECONDS)
