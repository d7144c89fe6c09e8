"""Requests and answers over ASGI, as far as the gateway needs them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from gateway import identifiers, openai
from gateway.openai import Refusal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ClientLeft(Exception):
    """The connection to the caller is gone, or the caller stopped reading."""


class GatewayStops(Exception):
    """The drain limit has passed."""


class Request:
    """One HTTP request. Header names are lower case; of a repeated header the first counts."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: str = scope["query_string"].decode("latin-1")
        self.headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            self.headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
        self._receive = receive

    async def body(self, limit: int) -> bytes | Refusal:
        """The whole body; a refusal when it is longer than `limit` bytes. Raises ClientLeft."""
        length = self.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > limit:
            return openai.too_large(limit)
        parts, size = [], 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                return openai.too_large(limit)
            if not message.get("more_body"):
                return b"".join(parts)

    async def gone(self) -> None:
        """Returns when the caller has left; to be awaited after the body was read."""
        while (await self._receive())["type"] != "http.disconnect":
            continue


@dataclass
class Answer:
    """The one answer to a request: its head with the headers that every answer has, and its body. `told_id` is the
    request id that stood in the head once it is sent."""

    send: Send
    request_id: str
    stall_seconds: float
    organization: str | None = None
    client_request_id: str | None = None
    started: float = field(default_factory=time.perf_counter)
    status: int = 0
    has_ended: bool = False
    told_id: str = ""

    @property
    def has_begun(self) -> bool:
        return self.status != 0

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        self.status, self.told_id = status, self.request_id
        head = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self._all(headers).items()]
        await self.send({"type": "http.response.start", "status": status, "headers": head})

    async def write(self, data: bytes) -> None:
        """Raises ClientLeft when the caller reads nothing for the stall limit."""
        await self._body(data, more=True)

    async def end(self, data: bytes = b"") -> None:
        """The last bytes of the body. Raises ClientLeft."""
        await self._body(data, more=False)

    async def _body(self, data: bytes, *, more: bool) -> None:
        self.has_ended = not more
        try:
            async with asyncio.timeout(self.stall_seconds):
                await self.send({"type": "http.response.body", "body": data, "more_body": more})
        except TimeoutError:
            raise ClientLeft from None

    async def whole(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """An answer in one piece; JSON unless the headers say otherwise."""
        length = {"content-length": str(len(body))}
        await self.begin(status, {"content-type": openai.JSON_TYPE} | dict(headers or {}) | length)
        await self.end(body)

    async def refuse(self, refusal: Refusal) -> None:
        """The refusal as an answer, or as the last event of a stream that has begun."""
        if self.has_begun:
            await self.end(refusal.event())
        else:
            await self.whole(refusal.status, refusal.body(), refusal.headers())

    def _all(self, headers: Mapping[str, str]) -> dict[str, str]:
        milliseconds = round((time.perf_counter() - self.started) * 1000)
        every = {
            "x-request-id": identifiers.public(self.request_id),
            "openai-version": openai.VERSION,
            "openai-processing-ms": str(milliseconds),
        }
        if self.organization:
            every["openai-organization"] = self.organization
        if self.client_request_id:
            every["x-client-request-id"] = self.client_request_id[:200]
        return every | dict(headers)


async def unless_cut(
    work: Coroutine[Any, Any, None], request: Request, reply: Answer, stopping: asyncio.Future[None]
) -> None:
    """Run `work` to its end, or cancel it when the caller leaves (ClientLeft) or the gateway has to stop
    (GatewayStops). Whatever happens, `work` has ended when this returns."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(request.gone())
    try:
        await asyncio.wait({task, gone, stopping}, return_when=asyncio.FIRST_COMPLETED)
        cut = ClientLeft if gone.done() else GatewayStops
        if reply.has_ended:  # a server reports the end of an answer as a disconnect too
            await task
    finally:
        if not task.done():
            task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)
    if task.cancelled():
        raise cut
    return task.result()
