"""Coroutines over the callbacks of `gateway.http`: a request, its response, and a call to a replica.

`ReplicaUnreachable` means that no byte of a response has arrived, so the request may be sent to another replica. After
the first byte the only error is `ResponseLost`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

from gateway import openai_errors
from gateway.http.client_connection import ClientResponse
from gateway.http.heads import Refusal, RequestHead, ResponseHead, render_fields
from gateway.http.replica_connection import Failure
from gateway.http.replica_pool import ReplicaExchange, ReplicaPool
from gateway.openai_errors import ErrorResponse
from gateway.request_ids import format_public_id

OPENAI_VERSION = "2020-10-01"
MAX_ECHOED_ID_CHARACTERS = 200
MAX_RESPONSE_BYTES = 64 * 1024 * 1024
MAX_UNREAD_BYTES = 256 * 1024


class ClientDisconnected(Exception):
    """The connection to the client is closed, or the client stopped reading."""


class GatewayStopping(Exception):
    """The drain limit has passed."""


class ReplicaUnreachable(Exception):
    """The connection failed before the first byte of the response; the replica may have received the request."""


class ConnectionRefused(ReplicaUnreachable):
    """No process listens at the replica's address, so the request was not received."""


class ResponseLost(Exception):
    """The connection failed after the first byte of the response."""


class ReplicaTimeout(Exception):
    """The replica sent no first byte within `upstream_seconds`."""


class Request:
    """One HTTP request. Header names are lower case. `client_left` is done when the client has disconnected."""

    def __init__(self, head: RequestHead) -> None:
        self.method = head.method
        self.path = head.path
        self.query = head.query
        self.headers: Mapping[str, str] = head.fields
        loop = asyncio.get_running_loop()
        self.body: asyncio.Future[bytes | ErrorResponse] = loop.create_future()
        self.client_left: asyncio.Future[None] = loop.create_future()

    async def read_body(self) -> bytes | ErrorResponse:
        """Return the whole body, or an error if it is too large, malformed or too late. Raises ClientDisconnected."""
        await asyncio.wait((self.body, self.client_left), return_when=asyncio.FIRST_COMPLETED)
        if not self.body.done():
            raise ClientDisconnected
        return self.body.result()


class Response:
    """The response to a request: the head with the headers common to all responses, and the body.

    `request_id` may change until the head is sent; before that, `status` is 0.
    """

    def __init__(self, client_response: ClientResponse, request_id: str, client_request_id: str | None) -> None:
        self._client_response = client_response
        self._writable: asyncio.Future[None] | None = None
        self._has_client_left = False
        self.request_id = request_id
        self.organization: str | None = None
        self.client_request_id = client_request_id
        self.started = time.perf_counter()

    @property
    def status(self) -> int:
        return self._client_response.status

    @property
    def has_begun(self) -> bool:
        return self._client_response.status != 0

    @property
    def has_ended(self) -> bool:
        return self._client_response.has_ended

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head: `headers` and the common headers of docs/gateway.md."""
        self._client_response.begin(status, self._render_headers(headers))

    async def write(self, data: bytes) -> None:
        """Send a part of the body, and wait while the client reads too slowly. Raises ClientDisconnected."""
        self._client_response.write(data)
        if self._client_response.is_full and not self._has_client_left:
            self._writable = asyncio.get_running_loop().create_future()
            await self._writable
        if self._has_client_left:
            raise ClientDisconnected

    async def end(self, data: bytes = b"") -> None:
        """Send the last part of the body."""
        self._client_response.end(data)

    async def send_whole(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send a complete response; its content type is JSON unless `headers` contain another."""
        given = {"content-type": openai_errors.JSON_CONTENT_TYPE} | dict(headers or {})
        self._client_response.send_whole(status, self._render_headers(given), body)

    async def send_error(self, error: ErrorResponse) -> None:
        """Send the error as the response, or as the last event of a stream whose head is already sent."""
        if self.has_begun:
            await self.end(error.event())
        else:
            await self.send_whole(error.status, error.body(), error.headers())

    def continue_writing(self) -> None:
        """Let `write` return."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def abandon(self) -> None:
        """Let `write` raise ClientDisconnected."""
        self._has_client_left = True
        self.continue_writing()

    def _render_headers(self, headers: Mapping[str, str]) -> bytes:
        milliseconds = round((time.perf_counter() - self.started) * 1000)
        more = {"openai-organization": self.organization} if self.organization else {}
        if self.client_request_id:
            more["x-client-request-id"] = self.client_request_id[:MAX_ECHOED_ID_CHARACTERS]
        return render_headers(self.request_id, milliseconds, more | dict(headers))


def render_headers(request_id: str, milliseconds: int, more: Mapping[str, str]) -> bytes:
    """Render the headers that every response has, and `more`."""
    common = f"x-request-id: {format_public_id(request_id)}\r\nopenai-version: {OPENAI_VERSION}\r\n"
    return f"{common}openai-processing-ms: {milliseconds}\r\n".encode("ascii") + render_fields(more.items())


class ExchangeTask:
    """An `Exchange` whose events are awaited by the task that handles the request."""

    def __init__(self, request: Request, response: Response, body_limit: int) -> None:
        self._request = request
        self._response = response
        self.body_limit = body_limit

    def body_received(self, body: bytes) -> None:
        self._request.body.set_result(body)

    def body_refused(self, refusal: Refusal) -> None:
        self._request.body.set_result(openai_errors.refused_by_http(refusal.status, refusal.message))

    def client_left(self) -> None:
        self._request.client_left.set_result(None)
        self._response.abandon()

    def client_writable(self) -> None:
        self._response.continue_writing()


async def run_until_disconnect(
    work: Coroutine[Any, Any, None], request: Request, response: Response, stopping: asyncio.Future[None]
) -> None:
    """Run `work` to its end, or cancel it and raise ClientDisconnected or GatewayStopping.

    `work` has ended when this function returns or raises.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task, request.client_left, stopping}, return_when=asyncio.FIRST_COMPLETED)
        reason = ClientDisconnected if request.client_left.done() else GatewayStopping
        if response.has_ended:
            await task
    finally:
        if not task.done():
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    if task.cancelled():
        raise reason
    return task.result()


class ReplicaResponse:
    """A response whose head and first bytes have arrived."""

    def __init__(self, call: ReplicaCall, head: ResponseHead) -> None:
        self._call = call
        self.status = head.status
        self.content_type = head.fields.get("content-type", "")

    @property
    def is_stream(self) -> bool:
        return self.content_type.lower().startswith("text/event-stream")

    async def iterate_chunks(self) -> AsyncIterator[bytes]:
        """Yield bytes as they arrive, without reading far ahead of the consumer. Raises ResponseLost."""
        while (chunk := await self._call.read()) is not None:
            yield chunk

    async def read_whole(self) -> bytes:
        """Read the whole body. Raises ResponseLost, also for a body of more than MAX_RESPONSE_BYTES."""
        parts, size = [], 0
        async for chunk in self.iterate_chunks():
            parts.append(chunk)
            size += len(chunk)
            if size > MAX_RESPONSE_BYTES:
                raise ResponseLost("the response is too long")
        return b"".join(parts)

    async def finish(self) -> None:
        """Read the end of the chunked encoding after `[DONE]`, so that the connection can be reused."""
        try:
            async with asyncio.timeout(1):
                while await self._call.read() is not None:
                    continue
        except (ResponseLost, TimeoutError):
            self._call.cancel()


class ReplicaCall:
    """A `ReplicaListener` that keeps what arrived until it is read."""

    def __init__(self) -> None:
        self.exchange: ReplicaExchange | None = None
        self._head: ResponseHead | None = None
        self._chunks: deque[bytes] = deque()
        self._unread_bytes = 0
        self._has_ended = False
        self._failure: tuple[Failure, str] | None = None
        self._arrival: asyncio.Future[None] | None = None

    async def wait_for_response(self) -> ReplicaResponse:
        """Wait for the head and the first byte. Raises ReplicaUnreachable, ConnectionRefused or ReplicaTimeout."""
        while self._head is None:
            if self._failure:
                failure, reason = self._failure
                errors = {Failure.REFUSED: ConnectionRefused, Failure.TIMED_OUT: ReplicaTimeout}
                raise errors.get(failure, ReplicaUnreachable)(reason)
            await self._wait_for_arrival()
        return ReplicaResponse(self, self._head)

    async def read(self) -> bytes | None:
        """Return the next bytes, None at the end. Raises ResponseLost."""
        while not self._chunks:
            if self._failure:
                raise ResponseLost(self._failure[1])
            if self._has_ended:
                return None
            await self._wait_for_arrival()
        chunk = self._chunks.popleft()
        self._unread_bytes -= len(chunk)
        if not self._chunks and self.exchange:
            self.exchange.resume()
        return chunk

    def cancel(self) -> None:
        if self.exchange:
            self.exchange.cancel()

    def response_began(self, head: ResponseHead) -> None:
        self._head = head
        self._wake()

    def response_data(self, data: bytes) -> None:
        self._chunks.append(data)
        self._unread_bytes += len(data)
        if self._unread_bytes > MAX_UNREAD_BYTES and self.exchange:
            self.exchange.pause()
        self._wake()

    def response_ended(self) -> None:
        self._has_ended = True
        self._wake()

    def response_failed(self, failure: Failure, reason: str) -> None:
        self._failure = failure, reason
        self._wake()

    async def _wait_for_arrival(self) -> None:
        self._arrival = asyncio.get_running_loop().create_future()
        await self._arrival

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)


@asynccontextmanager
async def post(
    pool: ReplicaPool, address: str, path: str, headers: bytes, body: bytes
) -> AsyncIterator[ReplicaResponse]:
    """Send a request to `address` (host:port) and yield the response once its first byte has arrived.

    Leaving the block early closes the connection, which cancels the request at the replica. Raises ReplicaUnreachable,
    ConnectionRefused or ReplicaTimeout.
    """
    call = ReplicaCall()
    call.exchange = pool.send(address, path, headers, body, call)
    try:
        yield await call.wait_for_response()
    finally:
        call.cancel()
