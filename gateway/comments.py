"""What a stream is told while it waits: comments, which every client skips and which keep the connection open.

The first comment comes with the head of the answer, status 200. From then on the request id in the head is the caller's
only one, and a refusal is an event of the stream.
"""

from __future__ import annotations

import time

from gateway import openai
from gateway.http import Answer
from gateway.limits import NoSlot

FIRST_SECONDS, NEXT_SECONDS = 1.0, 5.0


class Comments:
    """Of one request; without `is_stream` it is held silently."""

    def __init__(self, reply: Answer, *, is_stream: bool) -> None:
        self._reply = reply
        self._is_stream = is_stream
        self._due: float | None = None

    async def held(self, reason: NoSlot) -> float:
        """Say what the request waits for if it is time to; seconds until it is again."""
        if not self._is_stream:
            return float("inf")
        now = time.monotonic()
        if self._due is None:
            self._due = now + FIRST_SECONDS
        if now >= self._due:
            await self._say("waiting for a replica to start" if reason.is_cold else "waiting for a free slot")
            self._due = now + NEXT_SECONDS
        return self._due - now

    async def _say(self, text: str) -> None:
        if not self._reply.has_begun:
            await self._reply.begin(200, openai.STREAM_HEADERS)
        await self._reply.write(openai.comment(text))
