"""The gateway's routes over ASGI. Only what stands here exists; everything else is 404 in OpenAI's shape."""

from __future__ import annotations

import logging
import os
import time

from gateway import admission, identifiers, openai, proxy, router, telemetry
from gateway.admission import Route
from gateway.app import Gateway
from gateway.authenticate import authenticate
from gateway.contract import KeyRecord
from gateway.http import Answer, ClientLeft, Receive, Request, Scope, Send
from gateway.openai import Refusal
from gateway.snapshot import Snapshot

log = logging.getLogger(__name__)
INFERENCE = {route.value: route for route in Route}
MODELS = "/v1/models"
HEALTH = {"/health", "/livez", "/readyz"}


class Application:
    """The ASGI callable of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(Request(scope, receive), send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] != "lifespan.shutdown":
            if message["type"] == "lifespan.startup":
                await self._gateway.start()
                await send({"type": "lifespan.startup.complete"})
        await self._gateway.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(self, request: Request, send: Send) -> None:
        request_id = identifiers.uuid7(int(_now() * 1000), identifiers.random_tail(os.urandom(10)))
        stall = self._gateway.config.client_stall_seconds
        reply = Answer(send, request_id, stall, client_request_id=request.headers.get("x-request-id"))
        try:
            await self._dispatch(request, reply)
        except ClientLeft:
            log.debug("A caller left.")
        except Exception:
            log.exception("Request %s failed", identifiers.public(reply.request_id))
            if not reply.has_ended:
                await reply.refuse(openai.internal(identifiers.public(reply.request_id)))
        telemetry.answered(_label(request.path), reply.status or 499)

    async def _dispatch(self, request: Request, reply: Answer) -> None:
        path, method = request.path, request.method
        if path in INFERENCE:
            allowed = "POST"
        elif path in HEALTH or path == MODELS or path.startswith(f"{MODELS}/"):
            allowed = "GET, HEAD"
        else:
            return await reply.refuse(openai.unknown_url(method, path))
        if method not in allowed.split(", "):
            return await reply.refuse(openai.wrong_method(method, path, allowed))
        if path in HEALTH:
            return await self._health(path, reply)
        await self._with_key(request, reply)

    async def _health(self, path: str, reply: Answer) -> None:
        is_good = self._gateway.is_ready or path != "/readyz"
        await reply.whole(200 if is_good else 503, b'{"status":"ok"}' if is_good else b'{"status":"not ready"}')

    async def _with_key(self, request: Request, reply: Answer) -> None:
        parts = self._gateway.parts
        if parts is None or parts.follower.current is None:
            return await reply.refuse(openai.unavailable("The gateway is starting. Try again in a few seconds."))
        key = _key_of(request, parts.follower.current)
        if isinstance(key, Refusal) and await parts.follower.catch_up():
            key = _key_of(request, parts.follower.current)
        if isinstance(key, Refusal):
            return await reply.refuse(key)
        reply.organization = key.organization_slug
        if route := INFERENCE.get(request.path):
            with telemetry.in_flight.track_inprogress():
                return await self._infer(parts, route, request, reply, key)
        if request.path == MODELS:
            return await reply.whole(
                200, openai.models_body(router.callable_routes(key, parts.follower.current.routes))
            )
        model = request.path.removeprefix(f"{MODELS}/")
        found = await proxy.route_of(model, key, parts.follower)
        if isinstance(found, Refusal):
            return await reply.refuse(found)
        await reply.whole(200, openai.model_body(found, router.adapter_of(model)))

    async def _infer(self, parts: proxy.Parts, route: Route, request: Request, reply: Answer, key: KeyRecord) -> None:
        body = await request.body(self._gateway.config.body_bytes)
        call = body if isinstance(body, Refusal) else admission.parse(route, body)
        if isinstance(call, Refusal):
            return await reply.refuse(call)
        await proxy.answer(parts, request, reply, key, call)


def _key_of(request: Request, snapshot: Snapshot) -> KeyRecord | Refusal:
    return authenticate(request.headers.get("authorization"), request.query, snapshot.keys, _now())


def _now() -> float:
    return time.time()  # noqa: TID251 - requests enter here, this is the edge


def _label(path: str) -> str:
    if path.startswith(f"{MODELS}/"):
        return MODELS
    return path if path in INFERENCE or path in HEALTH or path == MODELS else "other"
