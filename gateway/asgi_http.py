"""HTTP requests and responses over ASGI, as far as the gateway needs them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from gateway import openai_errors
from gateway.openai_errors import ErrorResponse
from gateway.request_ids import format_public_id

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

OPENAI_VERSION = "2020-10-01"
MAX_ECHOED_ID_CHARACTERS = 200


class ClientDisconnected(Exception):
    """The connection to the client is closed, or the client stopped reading."""


class GatewayStopping(Exception):
    """The drain limit has passed."""


class Request:
    """One HTTP request. Header names are lower case; the first of several headers with the same name is kept."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: str = scope["query_string"].decode("latin-1")
        self.headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            self.headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
        self._receive = receive

    async def read_body(self, limit: int) -> bytes | ErrorResponse:
        """Read the whole body; an error if it is longer than `limit` bytes. Raises ClientDisconnected."""
        length = self.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > limit:
            return openai_errors.request_too_large(limit)
        parts, size = [], 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                return openai_errors.request_too_large(limit)
            if not message.get("more_body"):
                return b"".join(parts)

    async def wait_for_disconnect(self) -> None:
        """Return when the client has disconnected. Call it only after `read_body`: both consume ASGI messages."""
        while (await self._receive())["type"] != "http.disconnect":
            continue


@dataclass
class Response:
    """The response to a request: the head with the headers common to all responses, and the body.

    `request_id` may change until the head is sent; before that, `status` is 0.
    """

    send: Send
    request_id: str
    stall_seconds: float
    organization: str | None = None
    client_request_id: str | None = None
    started: float = field(default_factory=time.perf_counter)
    status: int = 0
    has_ended: bool = False

    @property
    def has_begun(self) -> bool:
        return self.status != 0

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head: `headers` and the common headers of docs/gateway.md."""
        self.status = status
        milliseconds = round((time.perf_counter() - self.started) * 1000)
        common = {
            "x-request-id": format_public_id(self.request_id),
            "openai-version": OPENAI_VERSION,
            "openai-processing-ms": str(milliseconds),
        }
        if self.organization:
            common["openai-organization"] = self.organization
        if self.client_request_id:
            common["x-client-request-id"] = self.client_request_id[:MAX_ECHOED_ID_CHARACTERS]
        head = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in (common | dict(headers)).items()]
        await self.send({"type": "http.response.start", "status": status, "headers": head})

    async def write(self, data: bytes) -> None:
        """Send a part of the body. Raises ClientDisconnected when the client reads nothing for `stall_seconds`."""
        await self._send_body(data, more=True)

    async def end(self, data: bytes = b"") -> None:
        """Send the last part of the body. Raises ClientDisconnected."""
        await self._send_body(data, more=False)

    async def _send_body(self, data: bytes, *, more: bool) -> None:
        self.has_ended = not more
        try:
            async with asyncio.timeout(self.stall_seconds):
                await self.send({"type": "http.response.body", "body": data, "more_body": more})
        except TimeoutError:
            raise ClientDisconnected from None

    async def send_whole(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send a complete response; its content type is JSON unless `headers` contain another."""
        length = {"content-length": str(len(body))}
        await self.begin(status, {"content-type": openai_errors.JSON_CONTENT_TYPE} | dict(headers or {}) | length)
        await self.end(body)

    async def send_error(self, error: ErrorResponse) -> None:
        """Send the error as the response, or as the last event of a stream whose head is already sent."""
        if self.has_begun:
            await self.end(error.event())
        else:
            await self.send_whole(error.status, error.body(), error.headers())


async def run_until_disconnect(
    work: Coroutine[Any, Any, None], request: Request, response: Response, stopping: asyncio.Future[None]
) -> None:
    """Run `work` to its end, or cancel it and raise ClientDisconnected or GatewayStopping.

    `work` has ended when this function returns or raises.
    """
    task = asyncio.create_task(work)
    disconnect = asyncio.create_task(request.wait_for_disconnect())
    try:
        await asyncio.wait({task, disconnect, stopping}, return_when=asyncio.FIRST_COMPLETED)
        reason = ClientDisconnected if disconnect.done() else GatewayStopping
        if response.has_ended:  # ASGI servers also report the end of a response as a disconnect
            await task
    finally:
        if not task.done():
            task.cancel()
        disconnect.cancel()
        await asyncio.gather(task, disconnect, return_exceptions=True)
    if task.cancelled():
        raise reason
    return task.result()
