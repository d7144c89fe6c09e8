"""Streams: how an operation declares that it may answer with server-sent events, and how it does."""

from collections.abc import AsyncIterator
from typing import Any

from django.http import StreamingHttpResponse

from console.streaming import sse


def describe_stream(description: str) -> dict[str, Any]:
    """`openapi_extra` of the operation; `description` says which events there are."""
    schema = {"type": "string", "description": description}
    return {"responses": {200: {"content": {"text/event-stream": {"schema": schema}}}}}


def stream(events: AsyncIterator[bytes]) -> StreamingHttpResponse:
    return StreamingHttpResponse(events, content_type=sse.CONTENT_TYPE, headers=sse.HEADERS)
