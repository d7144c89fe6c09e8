"""The HTTP routes of the gateway. Any other path is 404 in the error format of OpenAI."""

from __future__ import annotations

import asyncio
import os
import time

from gateway import metrics, model_lookup, openai_errors, openai_models, request_ids
from gateway.authentication import identify
from gateway.contract import KeyRecord
from gateway.http.client_connection import ClientResponse, Exchange
from gateway.http.heads import Refusal, RequestHead
from gateway.inference import Components, InferenceExchange, authorize_found, find_latest_route
from gateway.lifecycle import Gateway
from gateway.openai_errors import ErrorResponse
from gateway.request_validation import InferencePath
from gateway.responses import Response, render_error
from gateway.store.client import StoreError

INFERENCE_PATHS = {path.value: path for path in InferencePath}
MODELS_PATH = "/v1/models"
HEALTH_PATHS = {"/health", "/livez", "/readyz"}


class Router:
    """Starts the exchange of every request of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def start_exchange(self, head: RequestHead, client_response: ClientResponse) -> Exchange:
        now = _now()
        response = Response(client_response, _build_request_id(now), head.fields.get("x-request-id"))
        outcome = self._handle(head, response, now)
        if isinstance(outcome, InferenceExchange | ModelsExchange):
            return outcome
        if outcome:
            response.send_error(outcome)
        metrics.record_response(_get_route_label(head.path), response.status)
        return AnsweredExchange()

    def render_refusal(self, refusal: Refusal) -> tuple[bytes, bytes]:
        """Render the response to what is not a valid HTTP request, as (header block, body)."""
        metrics.record_response("other", refusal.status)
        return render_error(_build_request_id(_now()), openai_errors.refused_by_http(refusal.status, refusal.message))

    def _handle(
        self, head: RequestHead, response: Response, now: float
    ) -> InferenceExchange | ModelsExchange | ErrorResponse | None:
        """Start the exchange of a request with a key; None if the response is sent already."""
        path, method = head.path, head.method
        inference_path = INFERENCE_PATHS.get(path)
        if inference_path:
            allowed: tuple[str, ...] = ("POST",)
        elif path in HEALTH_PATHS or path == MODELS_PATH or path.startswith(f"{MODELS_PATH}/"):
            allowed = ("GET", "HEAD")
        else:
            return openai_errors.unknown_url(method, path)
        if method not in allowed:
            return openai_errors.method_not_allowed(method, path, ", ".join(allowed))
        if path in HEALTH_PATHS:
            is_healthy = self._gateway.is_ready or path != "/readyz"
            body = b'{"status":"ok"}' if is_healthy else b'{"status":"not ready"}'
            response.send_whole(200 if is_healthy else 503, body)
            return None
        components = self._gateway.components
        if components is None or components.published.snapshot is None:
            message = "The gateway is starting. Try again in a few seconds."
            return openai_errors.service_unavailable(message)
        if components.open_exchanges.is_interrupted:
            return openai_errors.stopped_while_queued()
        is_known = components.published.keys.is_known
        key_hash = identify(head.fields.get("authorization"), head.query, is_known)
        if isinstance(key_hash, ErrorResponse):
            return key_hash
        if inference_path is None:
            return ModelsExchange(components, head, response, key_hash, now)
        return InferenceExchange(components, head, response, inference_path, key_hash, now)


class AnsweredExchange:
    """An exchange whose response was sent with the head of its request."""

    body_limit = 0

    def body_received(self, body: bytes) -> None:
        pass

    def body_refused(self, refusal: Refusal) -> None:
        pass

    def client_left(self) -> None:
        pass

    def client_writable(self) -> None:
        pass


class ModelsExchange(AnsweredExchange):
    """Responds with the models that a key may call, or with one of them, once the key is looked up."""

    def __init__(
        self, components: Components, head: RequestHead, response: Response, key_hash: str, arrived_at: float
    ) -> None:
        self._components = components
        self._arrived_at = arrived_at
        self._head = head
        self._response = response
        self._task: asyncio.Task[None] | None = None
        components.published.keys.find(key_hash, self._take_key)

    def body_refused(self, refusal: Refusal) -> None:
        self._send_error(openai_errors.refused_by_http(refusal.status, refusal.message))

    def client_left(self) -> None:
        if self._task:
            self._task.cancel()

    def _take_key(self, found: KeyRecord | StoreError | None) -> None:
        key = authorize_found(found, self._arrived_at)
        if isinstance(key, ErrorResponse):
            self._send_error(key)
            return
        self._response.organization = key.organization_slug
        if self._head.path != MODELS_PATH:
            self._task = asyncio.create_task(self._send_model(self._head.path.removeprefix(f"{MODELS_PATH}/"), key))
            return
        snapshot = self._components.published.snapshot
        self._send_whole(
            openai_models.render_models(model_lookup.list_callable_routes(key, snapshot.routes if snapshot else {}))
        )

    async def _send_model(self, model: str, key: KeyRecord) -> None:
        snapshot = self._components.published.snapshot
        route = model_lookup.find_route(model, key, snapshot.routes if snapshot else {})
        if isinstance(route, ErrorResponse):
            route = await find_latest_route(model, key, self._components.published)
        if isinstance(route, ErrorResponse):
            self._send_error(route)
        else:
            self._send_whole(openai_models.render_model(route, model_lookup.get_adapter_name(model)))

    def _send_whole(self, body: bytes) -> None:
        if not self._response.has_ended:
            self._response.send_whole(200, body)
            metrics.record_response(MODELS_PATH, 200)

    def _send_error(self, error: ErrorResponse) -> None:
        if not self._response.has_ended:
            self._response.send_error(error)
            metrics.record_response(MODELS_PATH, error.status)


def _now() -> float:
    return time.time()  # noqa: TID251 - requests enter here, this is the edge


def _build_request_id(now: float) -> str:
    return request_ids.build_uuid7(int(now * 1000), request_ids.build_random_tail(os.urandom(10)))


def _get_route_label(path: str) -> str:
    """Return the label of a path in metrics; it never contains text of the client."""
    if path.startswith(f"{MODELS_PATH}/"):
        return MODELS_PATH
    return path if path in INFERENCE_PATHS or path in HEALTH_PATHS or path == MODELS_PATH else "other"
