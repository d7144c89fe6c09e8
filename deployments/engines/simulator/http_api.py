"""The simulator's HTTP API as an ASGI application: vLLM's routes, errors and streams."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any

from deployments.engines.simulator import embeddings, metrics
from deployments.engines.simulator.generation_requests import RequestError, parse
from deployments.engines.simulator.generator import Generator
from deployments.engines.simulator.metrics import Metrics
from deployments.engines.simulator.served_models import ServedModels as ServedModels

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
JSON, STREAM = b"application/json", b"text/event-stream; charset=utf-8"
VERSION = "simulator"


class HttpApi:
    """`ready` is set once the engine has initialized; `probed` when a health probe has succeeded."""

    def __init__(self, served: ServedModels, generator: Generator, engine_metrics: Metrics) -> None:
        self.served = served
        self.ready = asyncio.Event()
        self.probed = asyncio.Event()
        self._generator = generator
        self._metrics = engine_metrics
        self._tasks: set[asyncio.Future[None]] = set()

    async def abort_all(self) -> None:
        """Abort all requests, and wait until they are logged."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            await self._route(scope, receive, send)
        except RequestError as error:
            await _respond(send, error.status, json.dumps(error.body).encode())

    async def _route(self, scope: Message, receive: Receive, send: Send) -> None:
        route = (scope["method"].replace("HEAD", "GET"), scope["path"])
        match route:
            case ("GET", "/health"):
                await self._health(send)
            case ("GET", "/metrics"):
                await _respond(send, 200, self._metrics.render(), metrics.CONTENT_TYPE)
            case ("GET", "/version"):
                await _respond(send, 200, json.dumps({"version": VERSION}).encode())
            case ("GET", "/v1/models"):
                await _respond(send, 200, self.served.list_models())
            case ("POST", "/v1/chat/completions" | "/v1/completions" | "/v1/embeddings"):
                await self._answer(scope, receive, send)
            case _:
                raise RequestError(404, "NotFoundError", "Not Found")

    async def _health(self, send: Send) -> None:
        if self.ready.is_set():
            self.probed.set()
        await _respond(send, 200 if self.ready.is_set() else 503, b"")

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        """Process a request until it is answered or its client has disconnected."""
        if not self.ready.is_set():
            raise RequestError(503, "ServiceUnavailableError", "The engine is still initializing.")
        body = await _read_body(receive)
        reply = _Response(send)
        request_id = _find_header(scope, b"x-request-id") or secrets.token_hex(16)
        work = asyncio.ensure_future(self._process(scope["path"], body, request_id, reply))
        self._tasks.add(work)
        work.add_done_callback(self._tasks.discard)
        disconnect = asyncio.ensure_future(_wait_for_disconnect(receive))
        try:
            await asyncio.wait((work, disconnect), return_when=asyncio.FIRST_COMPLETED)
        finally:
            disconnect.cancel()
            work.cancel()
            await asyncio.wait((work,))
        if not work.cancelled():
            work.result()
            await reply.close()

    def _process(self, path: str, body: bytes, request_id: str, reply: _Response) -> Coroutine[Any, Any, None]:
        """Raises `RequestError`."""
        names, longest = self.served.all_names, self.served.max_model_len
        if path == "/v1/embeddings":
            embedding_request = embeddings.parse(body, served_names=names, max_model_len=longest)
            return self._generator.embed(embedding_request, request_id, reply.write)
        request = parse(body, chat=path == "/v1/chat/completions", served_names=names, max_model_len=longest)
        reply.content_type = STREAM if request.stream else JSON
        return self._generator.generate(request, request_id, reply.write)


class _Response:
    """The response to one request; its headers are sent with the first bytes."""

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


async def _wait_for_disconnect(receive: Receive) -> None:
    """Return when the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read_body(receive: Receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestError(400, "BadRequestError", "The client left before its request was complete.")
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


async def _respond(send: Send, status: int, body: bytes, content_type: bytes = JSON) -> None:
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _find_header(scope: Message, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")
