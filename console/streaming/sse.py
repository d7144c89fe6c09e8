"""Server-sent events: reading the data of a stream, writing one event."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
CONTENT_TYPE = "text/event-stream; charset=utf-8"
HEARTBEAT = b":\n\n"


async def data_lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """The `data:` of each line of a stream, comments and other fields passed over."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip().decode("utf-8", "replace")


def event(data: Any, name: str = "", event_id: str = "") -> bytes:
    """One event whose data is JSON, which has no line break."""
    head = (f"id: {event_id}\n" if event_id else "") + (f"event: {name}\n" if name else "")
    return f"{head}data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
