"""The connection to one client: reads requests, one after the other, and writes their responses.

```
HEAD ──head complete──► BODY ──body complete──► ANSWERING ──response ended──► HEAD
  │ malformed, too late    │ too large, too late     │ connection: close, unread body
  └────────────────────────┴────────────────────────►┴──► LINGERING ──► closed
```

LINGERING reads and drops what the client still sends for a limited time: closing at once would reset the connection,
and the client would lose the response. DISCARDING drops the rest of a short body whose response has ended already.
"""

from __future__ import annotations

import asyncio
import enum
from typing import TYPE_CHECKING, Protocol, cast

from gateway.http.chunked_body import LAST_CHUNK, ChunkedBody, MalformedChunk, encode_chunk
from gateway.http.heads import CHUNKED, HEAD_END, MAX_HEAD_BYTES, TOO_LONG, Refusal, RequestHead, RequestHeadParser

if TYPE_CHECKING:
    from gateway.http.clients import ClientEndpoint

NEVER = float("inf")
MAX_DISCARDED_BYTES = 64 * 1024
MAX_WAITING_BYTES = 64 * 1024  # of requests behind the present one; more is not read until it is answered
LARGE_BODY_BYTES = 64 * 1024  # larger bodies are written beside their head, not copied behind it
LINGER_SECONDS = 5.0

BODY_TOO_LATE = Refusal(408, "The request body did not arrive in time.")
HEAD_TOO_LATE = Refusal(408, "The request head did not arrive in time.")
NO_MEMORY = Refusal(503, "The bodies of other requests fill this gateway. Try again shortly.")


class State(enum.IntEnum):
    HEAD = 0
    BODY = 1
    ANSWERING = 2
    DISCARDING = 3
    LINGERING = 4


class Exchange(Protocol):
    """One request and its response, made by `start_exchange(head, response)` when the head is complete.

    It may end the response at any time, also before the body has arrived.
    """

    body_limit: int  # bytes

    def body_received(self, body: bytes) -> None:
        """The whole body has arrived. Called once, also for a request without a body."""

    def body_refused(self, refusal: Refusal) -> None:
        """The body is too large, malformed or too late. The exchange must end the response now."""

    def client_left(self) -> None:
        """The client disconnected or stalled before the response ended. What is written from now on is dropped."""

    def client_writable(self) -> None:
        """`response.is_full` has become false."""


class ClientResponse:
    """The response of one exchange. Header blocks are whole lines with CR LF, as `heads.render_fields` makes them.

    `status` is 0 until the head is sent. After the client left, writing has no effect.
    """

    __slots__ = ("_connection", "_is_chunked", "has_ended", "status")

    def __init__(self, connection: ClientConnection) -> None:
        self._connection: ClientConnection | None = connection
        self._is_chunked = False
        self.has_ended = False
        self.status = 0

    @property
    def has_begun(self) -> bool:
        return self.status != 0

    @property
    def is_full(self) -> bool:
        """Whether the client reads more slowly than is written; `client_writable` tells when to go on."""
        return self._connection is not None and self._connection.is_full

    def send_whole(self, status: int, headers: bytes, body: bytes) -> None:
        """Send a complete response."""
        self.status, self.has_ended = status, True
        connection = self._connection
        if connection is not None:
            self._connection = None
            connection.write_whole(status, headers, body)

    def begin(self, status: int, headers: bytes) -> None:
        """Send the head of a response whose length is unknown."""
        self.status = status
        if self._connection is not None:
            self._is_chunked = self._connection.write_head(status, headers)

    def write(self, data: bytes) -> None:
        """Send a part of the body."""
        if data and self._connection is not None:
            self._connection.write(encode_chunk(data) if self._is_chunked else data)

    def end(self, data: bytes = b"") -> None:
        """Send the last part of the body."""
        self.has_ended = True
        connection = self._connection
        if connection is not None:
            self._connection = None
            if self._is_chunked:
                data = encode_chunk(data) + LAST_CHUNK if data else LAST_CHUNK
            connection.write(data)
            connection.end_response()

    def detach(self) -> None:
        """Drop what is written from now on."""
        self._connection = None


class ClientConnection(asyncio.Protocol):
    """Serves the requests of one connection. `deadline` is on the clock of the endpoint, which calls `expire` then."""

    __slots__ = (
        "_body",
        "_chunks",
        "_closes",
        "_endpoint",
        "_exchange",
        "_head",
        "_held_bytes",
        "_input",
        "_is_paused",
        "_left",
        "_parser",
        "_response",
        "_scanned",
        "_stalled_bytes",
        "_state",
        "_transport",
        "deadline",
        "is_full",
    )

    def __init__(self, endpoint: ClientEndpoint) -> None:
        self._endpoint = endpoint
        self._parser = RequestHeadParser(endpoint.field_names)
        self._transport: asyncio.Transport
        self._state = State.HEAD
        self._input = bytearray()  # an incomplete head, or requests that wait for the present one
        self._scanned = 0  # bytes of `_input` that do not contain the end of the head
        self._head: RequestHead | None = None
        self._exchange: Exchange | None = None
        self._response: ClientResponse | None = None
        self._body = bytearray()
        self._left = 0  # bytes of the body that are missing
        self._chunks: ChunkedBody | None = None
        self._held_bytes = 0
        self._closes = False  # after the present response
        self._is_paused = False
        self._stalled_bytes = 0  # unsent when the client last read something
        self.deadline = NEVER
        self.is_full = False

    @property
    def is_idle(self) -> bool:
        """Whether no request is in progress."""
        return self._state is State.HEAD and not self._input

    # From the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=self._endpoint.limits.unsent_bytes)
        self.deadline = self._endpoint.now + self._endpoint.limits.head_seconds
        if self._endpoint.add(self):
            self._refuse(Refusal(503, "This gateway has too many connections. Try again shortly."))

    def data_received(self, data: bytes) -> None:
        state = self._state
        if state is State.ANSWERING or (state is State.HEAD and self.is_full):
            if self._add_input(data):
                self._pause_reading()
        elif state is State.HEAD:
            if not self._input:
                end = data.find(HEAD_END)
                if 0 <= end <= MAX_HEAD_BYTES:
                    self._read_request(data, end)
                    return
            if self._add_input(data):
                self._read_input()
        elif state is State.BODY:
            self._read_body(data)
        elif state is State.DISCARDING:
            self._discard(data)

    def eof_received(self) -> None:
        """The client has closed the connection; the transport closes it too, once what is unsent is written."""
        self._abandon_exchange()
        if self._state is not State.LINGERING:
            self._close()

    def connection_lost(self, error: Exception | None) -> None:
        self._endpoint.remove(self)
        self._hold(-self._held_bytes)
        self.deadline = NEVER
        self._state = State.LINGERING
        self._input = self._body = bytearray()
        self._abandon_exchange()

    def pause_writing(self) -> None:
        self.is_full = True
        self._stalled_bytes = self._transport.get_write_buffer_size()
        self.deadline = self._endpoint.now + self._endpoint.limits.stall_seconds

    def resume_writing(self) -> None:
        self.is_full = False
        if self._state in (State.ANSWERING, State.BODY):
            self.deadline = NEVER if self._state is State.ANSWERING else self._get_body_deadline()
            if self._exchange is not None:
                self._exchange.client_writable()
        elif self._state is State.HEAD:
            self._wait_for_request()

    # From the endpoint

    def expire(self) -> None:
        """Act on a deadline that has passed."""
        if self.is_full:
            unsent = self._transport.get_write_buffer_size()
            if unsent < self._stalled_bytes:
                self._stalled_bytes = unsent
                self.deadline = self._endpoint.now + self._endpoint.limits.stall_seconds
                return
        if self.is_full or self._state >= State.DISCARDING:
            self._drop()
        elif self._state is State.BODY:
            self._refuse_body(BODY_TOO_LATE)
        elif self._input:
            self._refuse(HEAD_TOO_LATE)
        else:
            self._close()

    def drain(self) -> None:
        """Close the connection now if it is idle, otherwise with the end of the response."""
        self._closes = True
        if self.is_idle:
            self._close()

    def abort(self) -> None:
        self._transport.abort()

    # Reading

    def _add_input(self, data: bytes) -> bool:
        """Keep bytes for later; returns False if there is no room, which ends the connection."""
        if not self._input and self._state is State.HEAD and not self.is_full:
            self.deadline = self._endpoint.now + self._endpoint.limits.head_seconds
        self._input += data
        if self._hold(len(data)):
            return True
        if self._state is State.HEAD and not self.is_full:
            self._refuse(NO_MEMORY)
        else:
            self._drop()
        return False

    def _add_waiting(self, data: bytes) -> bool:
        """Keep what came with the present request; returns False if there is no room, which ends the connection."""
        has_room = self._add_input(data)
        if has_room and len(self._input) > MAX_WAITING_BYTES:
            self._pause_reading()
        return has_room

    def _take_input(self) -> bytes:
        data = bytes(self._input)
        self._input = bytearray()
        self._scanned = 0
        self._hold(-len(data))
        return data

    def _read_input(self) -> None:
        """Read the next request from the input if its head is complete."""
        end = self._input.find(HEAD_END, max(0, self._scanned - len(HEAD_END)))
        if 0 <= end <= MAX_HEAD_BYTES:
            self._read_request(self._take_input(), end)
        elif len(self._input) > MAX_HEAD_BYTES:
            self._refuse(TOO_LONG)
        else:
            self._scanned = len(self._input)
            self._resume_reading()

    def _read_request(self, data: bytes, end: int) -> None:
        """Start the exchange of the request whose head is `data[:end]`, and read what follows the head."""
        head = self._parser.parse(data[:end])
        if isinstance(head, Refusal):
            self._refuse(head)
            return
        start = end + len(HEAD_END)
        self._head = head
        self._closes = self._closes or head.closes
        self._left = head.body_length
        self._state = State.BODY
        response = self._response = ClientResponse(self)
        exchange = self._endpoint.start_exchange(head, response)
        if response.has_ended:
            if start < len(data):
                self._read_after_response(data[start:])
            return
        self._exchange = exchange
        length = head.body_length
        if 0 <= length <= exchange.body_limit and len(data) - start >= length:
            if len(data) - start > length and not self._add_waiting(data[start + length :]):
                return
            self._receive_whole_body(data[start : start + length])
            return
        if length > exchange.body_limit:
            self._refuse_body(self._build_too_large(exchange))
            return
        self._resume_reading()
        if length == CHUNKED:
            self._chunks = ChunkedBody(refuses_tiny=True)
        if not self.is_full:
            self.deadline = self._get_body_deadline()
        if head.expects_continue:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if start < len(data):
            self._read_body(data[start:])

    def _read_body(self, data: bytes) -> None:
        exchange, chunks = self._exchange, self._chunks
        if exchange is None:
            return
        rest = b""
        if chunks is not None:
            try:
                data = chunks.feed(data)
            except MalformedChunk as error:
                self._refuse_body(Refusal(400, str(error)))
                return
            is_complete, rest = chunks.has_ended, chunks.rest
        else:
            if len(data) > self._left:
                data, rest = data[: self._left], data[self._left :]
            self._left -= len(data)
            is_complete = self._left == 0
        self._body += data
        if len(self._body) > exchange.body_limit:
            self._refuse_body(self._build_too_large(exchange))
        elif not self._hold(len(data)):
            self._refuse_body(NO_MEMORY)
        elif is_complete:
            body = bytes(self._body)
            self._body, self._chunks = bytearray(), None
            if rest and not self._add_waiting(rest):
                return
            self._receive_whole_body(body, is_held=True)

    def _receive_whole_body(self, body: bytes, *, is_held: bool = False) -> None:
        """Pass the body on; it is held until the response has ended."""
        exchange = self._exchange
        assert exchange is not None
        if not is_held and not self._hold(len(body)):
            self._refuse_body(NO_MEMORY)
            return
        self._left = 0
        self._state = State.ANSWERING
        if not self.is_full:
            self.deadline = NEVER
        exchange.body_received(body)

    def _read_after_response(self, data: bytes) -> None:
        """Read what came with a head whose response has already ended."""
        if self._state is State.DISCARDING:
            self._discard(data)
        elif self._state is State.HEAD and self._add_input(data):
            self._wait_for_request()

    def _hold(self, size: int) -> bool:
        """Count bytes that this connection keeps; returns False if all connections together keep too many."""
        self._held_bytes += size
        return self._endpoint.hold(size)

    def _get_body_deadline(self) -> float:
        return self._endpoint.now + self._endpoint.limits.body_seconds

    def _build_too_large(self, exchange: Exchange) -> Refusal:
        return Refusal(413, f"The request body is larger than {exchange.body_limit} bytes. Send a smaller one.")

    def _discard(self, data: bytes) -> None:
        if len(data) < self._left:
            self._left -= len(data)
            return
        rest, self._left = data[self._left :], 0
        self._state = State.HEAD
        if not rest or self._add_input(rest):
            self._wait_for_request()

    # Writing

    def write_whole(self, status: int, headers: bytes, body: bytes) -> None:
        start = self._endpoint.get_response_start(status)
        if self._ends_connection():
            headers += b"connection: close\r\n"
        head = self._head
        if head is not None and head.method == "HEAD":
            self._transport.write(b"%b%bcontent-length: %d\r\n\r\n" % (start, headers, len(body)))
        elif len(body) > LARGE_BODY_BYTES:
            self._transport.writelines([b"%b%bcontent-length: %d\r\n\r\n" % (start, headers, len(body)), body])
        else:
            self._transport.write(b"%b%bcontent-length: %d\r\n\r\n%b" % (start, headers, len(body), body))
        self.end_response()

    def write_head(self, status: int, headers: bytes) -> bool:
        """Write the head of a response of unknown length; returns whether its body is chunked."""
        head = self._head
        is_chunked = head is None or not (head.is_old or head.method == "HEAD")
        start = self._endpoint.get_response_start(status)
        if self._ends_connection():
            headers += b"connection: close\r\n"
        coding = b"transfer-encoding: chunked\r\n" if is_chunked else b""
        self._transport.write(b"%b%b%b\r\n" % (start, headers, coding))
        return is_chunked

    def write(self, data: bytes) -> None:
        if self._head is None or self._head.method != "HEAD":
            self._transport.write(data)

    def end_response(self) -> None:
        """Go on with the next request, or close."""
        self._exchange = self._response = None
        closes = self._ends_connection()
        if self._body or self._chunks:
            self._body, self._chunks = bytearray(), None
        self._hold(len(self._input) - self._held_bytes)
        if closes:
            self._close() if self._state is State.ANSWERING else self._linger()
        elif self._state is State.BODY and self._left > 0:
            self._state = State.DISCARDING
            self._resume_reading()
            self.deadline = self._get_body_deadline()
        else:
            self._state = State.HEAD
            self._wait_for_request()

    def _ends_connection(self) -> bool:
        """Whether the connection ends with the present response."""
        if self._closes or self._endpoint.is_draining:
            self._closes = True
        elif self._state is State.BODY:
            head = self._head
            is_short = head is not None and 0 <= self._left <= MAX_DISCARDED_BYTES and not head.expects_continue
            self._closes = not is_short
        return self._closes

    def _wait_for_request(self) -> None:
        # Responses are only started while the client reads those before them.
        if self.is_full:
            return
        if self._input:
            self.deadline = self._endpoint.now + self._endpoint.limits.head_seconds
            self._pause_reading()
            self._endpoint.loop.call_soon(self._read_waiting_input)
        else:
            self.deadline = self._endpoint.now + self._endpoint.limits.idle_seconds
            self._resume_reading()

    def _read_waiting_input(self) -> None:
        if self._state is State.HEAD and self._input and not self.is_full:
            self._read_input()

    def _pause_reading(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    def _refuse_body(self, refusal: Refusal) -> None:
        """Let the exchange refuse its body; the connection is closed with its response."""
        exchange = self._exchange
        assert exchange is not None
        self._closes = True
        self._state = State.LINGERING
        self.deadline = self._endpoint.now + LINGER_SECONDS
        exchange.body_refused(refusal)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what is not a request, and close."""
        start = self._endpoint.get_response_start(refusal.status)
        headers, body = self._endpoint.render_refusal(refusal)
        self._transport.write(
            b"%b%bconnection: close\r\ncontent-length: %d\r\n\r\n" % (start, headers, len(body)) + body
        )
        self._hold(-self._held_bytes)
        self._linger()

    def _linger(self) -> None:
        """Close for writing, and read on for a limited time."""
        self._state = State.LINGERING
        self._input = bytearray()
        self.deadline = self._endpoint.now + LINGER_SECONDS
        self._resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _close(self) -> None:
        """Close once what is unsent is written, for which there is a limited time."""
        self._state = State.LINGERING
        self._input = self._body = bytearray()
        self._hold(-self._held_bytes)
        self.deadline = self._endpoint.now + self._endpoint.limits.stall_seconds
        self._transport.close()

    def _drop(self) -> None:
        """Close without writing what is unsent."""
        self._state = State.LINGERING
        self._abandon_exchange()
        self._transport.abort()

    def _abandon_exchange(self) -> None:
        exchange, response = self._exchange, self._response
        self._exchange = self._response = None
        if response is not None:
            response.detach()
        if exchange is not None:
            exchange.client_left()
