"""The HTTP routes of the gateway. Any other path is 404 in the error format of OpenAI."""

from __future__ import annotations

import asyncio
import logging
import os
import time

from gateway import metrics, model_lookup, openai_errors, openai_models, request_ids
from gateway.authentication import authorize, identify
from gateway.contract import KeyRecord
from gateway.coroutine_http import ClientDisconnected, ExchangeTask, Request, Response, render_headers
from gateway.http.client_connection import ClientResponse
from gateway.http.heads import Refusal, RequestHead
from gateway.inference import Components, find_route, handle_inference
from gateway.lifecycle import Gateway
from gateway.openai_errors import ErrorResponse
from gateway.published_changes import PublishedChanges
from gateway.request_validation import InferencePath
from gateway.store.client import StoreError

log = logging.getLogger(__name__)
INFERENCE_PATHS = {path.value: path for path in InferencePath}
MODELS_PATH = "/v1/models"
HEALTH_PATHS = {"/health", "/livez", "/readyz"}
CLIENT_CLOSED_REQUEST = 499  # recorded when the client disconnects before any response


class Router:
    """Starts the exchange of every request of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._tasks: set[asyncio.Task[None]] = set()

    def start_exchange(self, head: RequestHead, client_response: ClientResponse) -> ExchangeTask:
        request = Request(head)
        response = Response(client_response, _build_request_id(), head.fields.get("x-request-id"))
        task = asyncio.create_task(self._handle(request, response))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return ExchangeTask(request, response, self._gateway.settings.body_bytes)

    def render_refusal(self, refusal: Refusal) -> tuple[bytes, bytes]:
        """Render the response to what is not a valid HTTP request, as (header block, body)."""
        metrics.record_response("other", refusal.status)
        error = openai_errors.refused_by_http(refusal.status, refusal.message)
        return render_headers(_build_request_id(), 0, error.headers()), error.body()

    async def wait_for_exchanges(self, seconds: float) -> None:
        """Wait until all exchanges have ended, at most `seconds`."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    async def _handle(self, request: Request, response: Response) -> None:
        try:
            await self._dispatch(request, response)
        except ClientDisconnected:
            log.debug("A client disconnected.")
        except Exception:
            public_id = request_ids.format_public_id(response.request_id)
            log.exception("Request %s failed", public_id)
            if not response.has_ended:
                await response.send_error(openai_errors.internal_error(public_id))
        metrics.record_response(_get_route_label(request.path), response.status or CLIENT_CLOSED_REQUEST)

    async def _dispatch(self, request: Request, response: Response) -> None:
        path, method = request.path, request.method
        if path in INFERENCE_PATHS:
            allowed = "POST"
        elif path in HEALTH_PATHS or path == MODELS_PATH or path.startswith(f"{MODELS_PATH}/"):
            allowed = "GET, HEAD"
        else:
            return await response.send_error(openai_errors.unknown_url(method, path))
        if method not in allowed.split(", "):
            return await response.send_error(openai_errors.method_not_allowed(method, path, allowed))
        if path in HEALTH_PATHS:
            is_healthy = self._gateway.is_ready or path != "/readyz"
            body = b'{"status":"ok"}' if is_healthy else b'{"status":"not ready"}'
            return await response.send_whole(200 if is_healthy else 503, body)
        await self._handle_authenticated(request, response)

    async def _handle_authenticated(self, request: Request, response: Response) -> None:
        components = self._gateway.components
        if components is None or components.published.snapshot is None:
            message = "The gateway is starting. Try again in a few seconds."
            return await response.send_error(openai_errors.service_unavailable(message))
        key = await _authenticate(request, components.published)
        if isinstance(key, ErrorResponse):
            return await response.send_error(key)
        response.organization = key.organization_slug
        if path := INFERENCE_PATHS.get(request.path):
            with metrics.in_flight.track_inprogress():
                return await self._infer(components, path, request, response, key)
        if request.path == MODELS_PATH:
            routes = model_lookup.list_callable_routes(key, components.published.snapshot.routes)
            return await response.send_whole(200, openai_models.render_models(routes))
        model = request.path.removeprefix(f"{MODELS_PATH}/")
        route = await find_route(model, key, components.published)
        if isinstance(route, ErrorResponse):
            return await response.send_error(route)
        await response.send_whole(200, openai_models.render_model(route, model_lookup.get_adapter_name(model)))

    async def _infer(
        self, components: Components, path: InferencePath, request: Request, response: Response, key: KeyRecord
    ) -> None:
        raw_body = await request.read_body()
        if isinstance(raw_body, ErrorResponse):
            return await response.send_error(raw_body)
        body = await components.body_workers.validate(path, raw_body)
        if isinstance(body, ErrorResponse):
            return await response.send_error(body)
        await handle_inference(components, request, response, key, body)


async def _authenticate(request: Request, published: PublishedChanges) -> KeyRecord | ErrorResponse:
    key_hash = identify(request.headers.get("authorization"), request.query)
    if isinstance(key_hash, ErrorResponse):
        return key_hash
    try:
        return authorize(await published.keys.wait_for(key_hash), _now())
    except StoreError as error:
        log.warning("A key cannot be looked up: %s", error)
        return openai_errors.service_unavailable(
            "The gateway cannot check API keys right now. Try again in a few seconds."
        )


def _now() -> float:
    return time.time()  # noqa: TID251 - requests enter here, this is the edge


def _build_request_id() -> str:
    return request_ids.build_uuid7(int(_now() * 1000), request_ids.build_random_tail(os.urandom(10)))


def _get_route_label(path: str) -> str:
    """Return the label of a path in metrics; it never contains text of the client."""
    if path.startswith(f"{MODELS_PATH}/"):
        return MODELS_PATH
    return path if path in INFERENCE_PATHS or path in HEALTH_PATHS or path == MODELS_PATH else "other"
