"""The log lines of a deployment's replicas: a page of them, or a stream."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from django.http import Http404
from django.utils import timezone

from accounts.roles import Scope
from console import access
from console.api import auth
from console.api.auth import Caller
from console.api.operations import Answer, Call, utc
from console.api.pages import BAD_CURSOR, EPOCH, MICROSECOND
from console.api.parameters import Choice, Moment, Text, Whole
from console.api.problems import Problem, invalid, missing
from console.streaming import log_stream, sse
from console.streaming.log_stream import Subject
from deployments.fields import FieldError
from deployments.logs import MOST_LINES, TAIL, Line, Place, Wanted

HEARTBEAT_SECONDS = 15.0
FOLLOW = Choice("follow", "Whether to stream what is added, as server-sent events.", default="false",
                among=("true", "false"))  # fmt: skip
STREAMED = (
    "The last lines, then each that is added: an event whose data is a LogLine. `event: trouble` says that the cluster "
    "cannot be asked now; `event: ended` that nothing more will come."
)
PARAMETERS = (
    Text(
        "replica",
        "Only lines of this replica.",
        pattern="[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        message="Send the id of a replica of this deployment.",
    ),
    FOLLOW,
    Whole("tail", "How many of the last lines to send at most.", default=TAIL, lowest=1, highest=MOST_LINES),
    Moment("since", "Only lines of this time or later."),
    Moment("until", "Only lines before this time."),
    Text(
        "q",
        "Only lines with this text in them, whatever its case; no character has a meaning of its own.",
        pattern="[^\x00-\x1f\x7f]{1,200}",
        message="Send 1 to 200 printable characters.",
    ),
    Text(
        "cursor",
        "For the lines before those of a page: its next_cursor. Not with follow.",
        pattern="[0-9a-f]{14}[0-9a-f]{32}[0-9a-f]{8}",
        message=BAD_CURSOR,
    ),
)


def listed(call: Call) -> Answer:
    """A page, oldest line first, or with `follow` a stream."""
    subject = _subject(call.caller, call.path["id"], call.query["replica"])
    if call.query["follow"] == "true":
        if call.query["cursor"] is not None:
            raise invalid([FieldError("cursor", "not_applicable", "A stream has no pages: remove it, or follow.")])
        return Answer(200, stream=_stream(call))
    tail = call.query["tail"]
    found = log_stream.read(subject, _wanted(call, tail + 1))
    if found.trouble:
        raise Problem("log-unavailable", found.trouble, headers={"Retry-After": "5"})
    lines = found.lines[-tail:]
    cursor = _cursor(lines[0].place) if len(found.lines) > tail else None
    return Answer(200, {"data": [rendered(line) for line in lines], "next_cursor": cursor})


def rendered(line: Line) -> dict[str, Any]:
    return {"at": utc(line.at), "replica": str(line.replica_id), "text": line.text}


async def _stream(call: Call) -> AsyncIterator[bytes]:
    """An event for each line; `trouble` while the cluster cannot say, `ended` once no more will come or the key may
    not see it any more."""

    def allowed() -> Subject | None:
        caller = auth.still(call.caller, Scope.READ, timezone.now())  # noqa: TID251
        try:
            return _subject(caller, call.path["id"], call.query["replica"]) if caller else None
        except Problem:
            return None

    said_at = time.monotonic()
    yield sse.HEARTBEAT
    async for tail in log_stream.follow(allowed, _wanted(call, call.query["tail"])):
        if tail.trouble:
            yield sse.event({"detail": tail.trouble}, "trouble")
        for line in tail.lines:
            yield sse.event(rendered(line))
        if tail.lines or tail.trouble:
            said_at = time.monotonic()
        elif time.monotonic() - said_at > HEARTBEAT_SECONDS:
            said_at = time.monotonic()
            yield sse.HEARTBEAT
    yield sse.event({}, "ended")


def _subject(caller: Caller, deployment: str, replica: str | None) -> Subject:
    try:
        found = access.deployment(caller.actor, deployment)
    except Http404:
        raise missing("deployment") from None
    try:
        return Subject(found, access.replica(caller.actor, found, replica) if replica else None)
    except Http404:
        raise missing("replica of this deployment") from None


def _wanted(call: Call, tail: int) -> Wanted:
    query = call.query
    before = None if query["cursor"] is None else _place(query["cursor"])
    return Wanted(tail, query["since"], query["until"], query["q"] or "", before)


def _cursor(place: Place) -> str:
    return f"{(place.at - EPOCH) // MICROSECOND:014x}{place.replica_id.hex}{place.number:08x}"


def _place(cursor: str) -> Place:
    return Place(EPOCH + int(cursor[:14], 16) * MICROSECOND, uuid.UUID(hex=cursor[14:46]), int(cursor[46:], 16))
