"""Keep-alive comments of streams whose request is queued: SSE comment lines, which clients ignore.

The first comment is sent after FIRST_SECONDS together with the response head (status 200). From then on an error is an
event of the stream.
"""

from __future__ import annotations

from gateway import sse
from gateway.responses import Response
from gateway.slots import NoSlot

FIRST_SECONDS, INTERVAL_SECONDS = 1.0, 5.0


class KeepaliveComments:
    """Sends the comments of one request; without `is_stream` it sends nothing."""

    def __init__(self, response: Response, *, is_stream: bool) -> None:
        self._response = response
        self._is_stream = is_stream
        self._due_at: float | None = None

    def send_if_due(self, reason: NoSlot, now: float) -> float:
        """Send a comment naming `reason` if one is due at `now` (monotonic); returns the seconds until the next one."""
        if not self._is_stream:
            return float("inf")
        if self._due_at is None:
            self._due_at = now + FIRST_SECONDS
        if now >= self._due_at:
            if not self._response.has_begun:
                self._response.begin_stream()
            text = "waiting for a replica to start" if reason.is_cold_start else "waiting for a free slot"
            self._response.write(sse.format_comment(text))
            self._due_at = now + INTERVAL_SECONDS
        return self._due_at - now
