"""The simulator's HTTP API as an ASGI program: vLLM's routes, errors and streams."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any

from deployments.engines.simulator import embeddings, gauges
from deployments.engines.simulator.desk import Desk
from deployments.engines.simulator.gauges import Gauges
from deployments.engines.simulator.requests import Refused, read
from deployments.engines.simulator.served import Served as Served

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
JSON, STREAM = b"application/json", b"text/event-stream; charset=utf-8"
VERSION = "simulator"


class App:
    """`ready` is set once it has initialized; `probed` when somebody has seen that."""

    def __init__(self, served: Served, desk: Desk, figures: Gauges) -> None:
        self.served = served
        self.ready = asyncio.Event()
        self.probed = asyncio.Event()
        self._desk = desk
        self._figures = figures
        self._works: set[asyncio.Future[None]] = set()

    async def settle(self) -> None:
        """Abort what is still generated, and wait until it is written down."""
        for work in self._works:
            work.cancel()
        await asyncio.gather(*self._works, return_exceptions=True)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            await self._route(scope, receive, send)
        except Refused as error:
            await _respond(send, error.status, json.dumps(error.body).encode())

    async def _route(self, scope: Message, receive: Receive, send: Send) -> None:
        route = (scope["method"].replace("HEAD", "GET"), scope["path"])
        match route:
            case ("GET", "/health"):
                await self._health(send)
            case ("GET", "/metrics"):
                await _respond(send, 200, self._figures.exposition(), gauges.CONTENT_TYPE)
            case ("GET", "/version"):
                await _respond(send, 200, json.dumps({"version": VERSION}).encode())
            case ("GET", "/v1/models"):
                await _respond(send, 200, self.served.models())
            case ("POST", "/v1/chat/completions" | "/v1/completions" | "/v1/embeddings"):
                await self._answer(scope, receive, send)
            case _:
                raise Refused(404, "NotFoundError", "Not Found")

    async def _health(self, send: Send) -> None:
        if self.ready.is_set():
            self.probed.set()
        await _respond(send, 200 if self.ready.is_set() else 503, b"")

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        """Work on a request until it is answered or its client has left."""
        if not self.ready.is_set():
            raise Refused(503, "ServiceUnavailableError", "The engine is still initializing.")
        body = await _body(receive)
        reply = _Reply(send)
        request_id = _header(scope, b"x-request-id") or secrets.token_hex(16)
        work = asyncio.ensure_future(self._begin(scope["path"], body, request_id, reply))
        self._works.add(work)
        work.add_done_callback(self._works.discard)
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((work, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            work.cancel()
            await asyncio.wait((work,))
        if not work.cancelled():
            work.result()
            await reply.close()

    def _begin(self, path: str, body: bytes, request_id: str, reply: _Reply) -> Coroutine[Any, Any, None]:
        """Raises `Refused`."""
        names, longest = self.served.all_names, self.served.max_model_len
        if path == "/v1/embeddings":
            asked = embeddings.read(body, served_names=names, max_model_len=longest)
            return self._desk.embed(asked, request_id, reply.write)
        wanted = read(body, chat=path == "/v1/chat/completions", served_names=names, max_model_len=longest)
        reply.content_type = STREAM if wanted.stream else JSON
        return self._desk.answer(wanted, request_id, reply.write)


class _Reply:
    """The response of one request; its head goes out with the first bytes."""

    def __init__(self, send: Send) -> None:
        self.content_type = JSON
        self._send = send
        self._begun = False

    async def write(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            length = [] if self.content_type is STREAM else [(b"content-length", str(len(data)).encode())]
            headers = [(b"content-type", self.content_type), *length]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def close(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _body(receive: Receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "BadRequestError", "The client left before its request was complete.")
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


async def _respond(send: Send, status: int, body: bytes, content_type: bytes = JSON) -> None:
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _header(scope: Message, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")
