"""The log lines of a deployment's replicas: a page of them, or a stream."""

import time
import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any

from django.http import Http404, StreamingHttpResponse
from django.utils import timezone
from ninja import Query
from pydantic import BaseModel, Field

from accounts.roles import Scope
from console import access
from console.api import auth
from console.api.auth import ApiRequest, Caller
from console.api.deployments import Reference, find_deployment
from console.api.field_types import DIGITS, Flag, Matching, Moment, Resource, SearchText, Time, format_time
from console.api.pagination import BAD_CURSOR, EPOCH, MICROSECOND, Page
from console.api.problems import Problem, invalid, missing, raises
from console.api.server_sent_events import describe_stream, stream
from console.api.strict_router import Router
from console.streaming import log_stream, sse
from console.streaming.log_stream import Subject
from deployments.logs.line_query import DEFAULT_TAIL, MAX_LINES, Line, LinePosition, LogQuery
from deployments.schema.errors import FieldError

router = Router(tags=["Deployments"])
HEARTBEAT_SECONDS = 15.0
ABOUT_STREAM = (
    "The last lines, then each new line: a server-sent event with a LogLine. `event: trouble` means that the cluster "
    "cannot be reached now, `event: ended` that no more lines will come."
)
REPLICA_ID = Matching(
    "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "Send the ID of a replica of this deployment."
)


class LogLine(Resource):
    at: Time | None
    replica: str = Field(description="ID of the replica that wrote the line.")
    text: str


class LogPage(Page):
    data: list[LogLine]


class LogParameters(BaseModel):
    replica: Annotated[str, REPLICA_ID] | None = Field(None, description="Only lines of this replica.")
    follow: Flag = Field(False, description="Whether to stream new lines as server-sent events.")
    tail: Annotated[int, Field(ge=1, le=MAX_LINES), DIGITS] = Field(
        DEFAULT_TAIL, description="Maximum number of lines; the latest are returned."
    )
    since: Moment | None = Field(None, description="Only lines at or after this time.")
    until: Moment | None = Field(None, description="Only lines before this time.")
    q: SearchText | None = Field(
        None, description="Only lines that contain this text, ignoring case; matched literally."
    )
    cursor: Annotated[str, Matching("[0-9a-f]{14}[0-9a-f]{32}[0-9a-f]{8}", BAD_CURSOR)] | None = Field(
        None, description="The next_cursor of a page, for the lines before it. Not with follow."
    )

    def wanted(self, tail: int) -> LogQuery:
        place = None if self.cursor is None else _read_cursor(self.cursor)
        return LogQuery(tail, self.since, self.until, self.q or "", place)


@router.get(
    "/deployments/{str:id}/logs",
    response=LogPage,
    summary="List log lines",
    openapi_extra=describe_stream(ABOUT_STREAM),
)
@raises("log-unavailable")
def read_logs(request: ApiRequest, id: Reference, parameters: Query[LogParameters]) -> LogPage | StreamingHttpResponse:
    """Returns the latest lines of one or all replicas, including ended ones, oldest line first. Lines contain no
    control characters and are truncated after 4,000 characters; `next_cursor` gives the lines before. With
    `follow=true`, new lines are streamed as server-sent events."""
    subject = _find_subject(request.auth, id, parameters.replica)
    if parameters.follow:
        if parameters.cursor is not None:
            raise invalid([FieldError("cursor", "not_applicable", "Streams have no pages: remove cursor or follow.")])
        return stream(_stream(request.auth, id, parameters))
    found = log_stream.read(subject, parameters.wanted(parameters.tail + 1))
    if found.trouble:
        raise Problem("log-unavailable", found.trouble, headers={"Retry-After": "5"})
    lines = found.lines[-parameters.tail :]
    next_cursor = _format_cursor(lines[0].position) if len(found.lines) > parameters.tail else None
    return LogPage(data=[LogLine.model_validate(render_line(line)) for line in lines], next_cursor=next_cursor)


def render_line(line: Line) -> dict[str, Any]:
    return {"at": format_time(line.at) if line.at else None, "replica": str(line.replica_id), "text": line.text}


async def _stream(caller: Caller, deployment: str, parameters: LogParameters) -> AsyncIterator[bytes]:
    """An event for each line; `trouble` while the cluster cannot say, `ended` once no more will come or the key may
    not see it any more."""

    def allowed() -> Subject | None:
        caller_now = auth.recheck(caller, Scope.READ, timezone.now())  # noqa: TID251
        try:
            return _find_subject(caller_now, deployment, parameters.replica) if caller_now else None
        except Problem:
            return None

    said_at = time.monotonic()
    yield sse.HEARTBEAT
    async for tail in log_stream.follow(allowed, parameters.wanted(parameters.tail)):
        if tail.trouble:
            yield sse.event({"detail": tail.trouble}, "trouble")
        for line in tail.lines:
            yield sse.event(render_line(line))
        if tail.lines or tail.trouble:
            said_at = time.monotonic()
        elif time.monotonic() - said_at > HEARTBEAT_SECONDS:
            said_at = time.monotonic()
            yield sse.HEARTBEAT
    yield sse.event({}, "ended")


def _find_subject(caller: Caller, deployment: str, replica: str | None) -> Subject:
    found = find_deployment(caller, deployment)
    try:
        return Subject(found, access.replica(caller.actor, found, replica) if replica else None)
    except Http404:
        raise missing("replica of this deployment") from None


def _format_cursor(place: LinePosition) -> str:
    return f"{(place.at - EPOCH) // MICROSECOND:014x}{place.replica_id.hex}{place.number:08x}"


def _read_cursor(cursor: str) -> LinePosition:
    return LinePosition(EPOCH + int(cursor[:14], 16) * MICROSECOND, uuid.UUID(hex=cursor[14:46]), int(cursor[46:], 16))
