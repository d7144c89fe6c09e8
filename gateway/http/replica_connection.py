"""The connection to one replica: writes one request at a time and reads its response.

A request has four ends: the response ended, it failed before the first byte of a body (UNREACHABLE, or TIMED_OUT by a
deadline), it failed after that byte (LOST), or the caller cancelled it, which closes the connection.
"""

from __future__ import annotations

import asyncio
import enum
from typing import TYPE_CHECKING, Protocol, cast

from gateway.http.chunked_body import ChunkedBody, MalformedChunk
from gateway.http.heads import CHUNKED, HEAD_END, MAX_HEAD_BYTES, Refusal, ResponseHead, ResponseHeadParser

if TYPE_CHECKING:
    from gateway.http.replica_pool import ReplicaPool

MAX_INFORMATIONAL_HEADS = 8
LARGE_BODY_BYTES = 64 * 1024  # larger bodies are written beside the head, not copied behind it


class Failure(enum.Enum):
    """How a request ended without a complete response."""

    REFUSED = "no process listens at the address: the request was not received"
    UNREACHABLE = "the connection failed before the first byte of a body: the request may have been received"
    TIMED_OUT = "no first byte arrived in time"
    LOST = "the connection failed after the first byte of the body"


class ReplicaListener(Protocol):
    """Receives one response. After `response_ended` or `response_failed` nothing more is called."""

    def response_began(self, head: ResponseHead) -> None:
        """The head and the first byte of the body have arrived, or the end of an empty body."""

    def response_data(self, data: bytes) -> None:
        """A part of the body."""

    def response_ended(self) -> None:
        """The body is complete."""

    def response_failed(self, failure: Failure, reason: str) -> None:
        """There is no complete response; `reason` is for the log."""


class ReplicaConnection(asyncio.Protocol):
    """`listener` is None while the connection is idle."""

    __slots__ = (
        "_chunks",
        "_expires_at",
        "_has_begun",
        "_head",
        "_informational_heads",
        "_input",
        "_is_paused",
        "_left",
        "_parser",
        "_pool",
        "_transport",
        "address",
        "idle_since",
        "is_closed",
        "listener",
    )

    def __init__(self, pool: ReplicaPool, address: str) -> None:
        self._pool = pool
        self._parser = ResponseHeadParser(pool.field_names)
        self._transport: asyncio.Transport
        self.address = address
        self.idle_since = 0.0
        self.is_closed = False
        self.listener: ReplicaListener | None = None
        self._input = b""  # an incomplete head
        self._head: ResponseHead | None = None
        self._left = 0  # bytes of the body that are missing
        self._chunks: ChunkedBody | None = None
        self._has_begun = False
        self._is_paused = False
        self._informational_heads = 0
        self._expires_at = 0.0

    # From the caller

    def send(self, head: bytes, body: bytes, listener: ReplicaListener) -> None:
        """Send a request whose head is complete, with the empty line."""
        self.listener = listener
        self._head = None
        self._has_begun = False
        self._informational_heads = 0
        self._expires_at = self._pool.now + self._pool.limits.silence_seconds
        if self.is_closed:
            self._fail("The replica closed the connection before the request.")
        elif len(body) > LARGE_BODY_BYTES:
            self._transport.writelines([head, body])
        else:
            self._transport.write(head + body)

    def pause(self) -> None:
        """Stop reading until `resume`; meanwhile the replica is not taken for silent."""
        if not self._is_paused and not self.is_closed:
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._is_paused and not self.is_closed:
            self._is_paused = False
            self._expires_at = self._pool.now + self._pool.limits.silence_seconds
            self._transport.resume_reading()

    def cancel(self) -> None:
        """Close the connection without calling the listener."""
        self.listener = None
        self.close()

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._pool.forget(self)
            self._transport.abort()

    def expire(self, now: float) -> None:
        """End the request if the replica has been silent for too long, or the connection if it is idle for too long."""
        if self.listener is None:
            if now - self.idle_since >= self._pool.limits.keep_seconds:
                self.close()
        elif not self._is_paused and self._expires_at <= now:
            failure = Failure.LOST if self._has_begun else Failure.TIMED_OUT
            self._fail("The replica sent nothing in time.", failure)

    # From the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.idle_since = self._pool.now
        self._pool.add(self)

    def data_received(self, data: bytes) -> None:
        self._expires_at = self._pool.now + self._pool.limits.silence_seconds
        if self.listener is None:
            self.close()  # bytes without a request
        elif self._head is None:
            self._read_head(data)
        else:
            self._read_body(data)

    def eof_received(self) -> None:
        head = self._head
        if self.listener is not None and head is not None and head.body_length is None:
            self._end()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True
        self._pool.forget(self)
        head = self._head
        if self.listener is not None and head is not None and head.body_length is None and error is None:
            self._end()
        elif self.listener is not None:
            self._fail(f"The connection was closed: {error or 'end of file'}")

    # Reading

    def _read_head(self, data: bytes) -> None:
        if self._input:
            data, self._input = self._input + data, b""
        end = data.find(HEAD_END)
        if end < 0 or end > MAX_HEAD_BYTES:
            if len(data) > MAX_HEAD_BYTES:
                self._fail("The head of the response is too long.")
            else:
                self._input = data
            return
        head = self._parser.parse(data[:end])
        if isinstance(head, Refusal):
            self._fail(head.message)
            return
        rest = data[end + len(HEAD_END) :]
        if head.status < 200:
            self._informational_heads += 1
            if head.status == 101 or self._informational_heads > MAX_INFORMATIONAL_HEADS:
                self._fail("The replica sent too many informational responses, or changed the protocol.")
            elif rest:
                self._read_head(rest)
            return
        self._head = head
        if head.body_length == CHUNKED:
            self._chunks = ChunkedBody()
        else:
            self._chunks = None
            self._left = -1 if head.body_length is None else head.body_length
        if rest or self._left == 0:
            self._read_body(rest)

    def _read_body(self, data: bytes) -> None:
        """Read bytes of the body; `_left` is -1 for a body that ends with the connection."""
        chunks = self._chunks
        has_excess = False
        if chunks is not None:
            try:
                data = chunks.feed(data)
            except MalformedChunk as error:
                self._fail(str(error))
                return
            is_complete, has_excess = chunks.has_ended, bool(chunks.rest)
        elif self._left >= 0:
            has_excess = len(data) > self._left
            if has_excess:
                data = data[: self._left]
            self._left -= len(data)
            is_complete = self._left == 0
        else:
            is_complete = False
        if data:
            if not self._has_begun:
                self._begin()
            if self.listener is not None:
                self.listener.response_data(data)
        if is_complete:
            self._end(has_excess=has_excess)

    def _begin(self) -> None:
        self._has_begun = True
        if self.listener is not None and self._head is not None:
            self.listener.response_began(self._head)

    def _end(self, *, has_excess: bool = False) -> None:
        """Finish a complete response. An empty one of status 200 is a failure: engines never send it."""
        head, listener = self._head, self.listener
        if listener is None or head is None:
            return
        if not self._has_begun and head.status == 200:
            self._fail("The replica sent an empty response.")
            return
        if not self._has_begun:
            self._begin()
        self.listener = None
        is_unsent = not self.is_closed and self._transport.get_write_buffer_size() > 0
        if head.closes or has_excess or is_unsent:
            self.close()
        elif not self.is_closed:
            self.resume()
            self._head = self._chunks = None
            self._pool.keep(self)
        listener.response_ended()

    def _fail(self, reason: str, failure: Failure | None = None) -> None:
        listener, self.listener = self.listener, None
        self.close()
        if listener is not None:
            listener.response_failed(failure or (Failure.LOST if self._has_begun else Failure.UNREACHABLE), reason)
