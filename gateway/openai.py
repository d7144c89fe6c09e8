"""How the gateway speaks OpenAI: every error it can give, rendered; engine errors normalised; the list of models. Pure.

An error body is `{"error": {"message", "type", "param", "code"}}`. 409 is never sent: clients retry it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gateway.contract import RouteRecord

VERSION = "2020-10-01"
JSON_TYPE = "application/json"
SSE_TYPE = "text/event-stream; charset=utf-8"
STREAM_HEADERS = {"content-type": SSE_TYPE, "cache-control": "no-cache", "x-accel-buffering": "no"}
DONE_EVENT = b"data: [DONE]\n\n"
MAX_RETRY_AFTER_SECONDS = 120

INVALID, SERVER = "invalid_request_error", "server_error"


@dataclass(frozen=True)
class Refusal:
    """Why a request gets no answer. `retry_after_seconds` is rounded up and cut to what clients obey;
    `should_retry` None leaves the decision to the client."""

    status: int
    message: str
    type: str = INVALID
    code: str | None = None
    param: str | None = None
    retry_after_seconds: float | None = None
    should_retry: bool | None = None
    allow: str | None = None

    def body(self) -> bytes:
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return json.dumps({"error": error}, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")

    def event(self) -> bytes:
        """The same error inside a stream that has begun; `[DONE]` follows it."""
        return b"data: " + self.body() + b"\n\n" + DONE_EVENT

    def headers(self) -> dict[str, str]:
        headers = {"content-type": JSON_TYPE}
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        if self.retry_after_seconds is not None:
            seconds = min(max(math.ceil(self.retry_after_seconds), 1), MAX_RETRY_AFTER_SECONDS)
            headers |= {"retry-after": str(seconds), "retry-after-ms": str(seconds * 1000)}
        if self.should_retry is not None:
            headers["x-should-retry"] = "true" if self.should_retry else "false"
        return headers | ({"allow": self.allow} if self.allow else {})


def malformed(message: str, param: str | None = None) -> Refusal:
    return Refusal(400, message, param=param)


def out_of_range(param: str, message: str) -> Refusal:
    return Refusal(422, message, code=f"invalid_{param}", param=param)


def context_exceeded(context_length: int, least: int, param: str) -> Refusal:
    return Refusal(
        400,
        f"This model's maximum context length is {context_length} tokens, and the prompt is at least {least} tokens "
        "long. Shorten it.",
        code="context_length_exceeded",
        param=param,
    )


def unauthenticated(message: str) -> Refusal:
    return Refusal(401, message, code="invalid_api_key")


def forbidden(message: str) -> Refusal:
    return Refusal(403, message, code="permission_denied")


def model_not_found(model: str) -> Refusal:
    """The same bytes for what does not exist and for what the caller may not see."""
    return Refusal(
        404,
        f"The model `{model[:200]}` does not exist or you do not have access to it.",
        code="model_not_found",
        param="model",
    )


def unknown_url(method: str, path: str) -> Refusal:
    return Refusal(404, f"Unknown request URL: {method} {path[:200]}. Check the path.", code="unknown_url")


def wrong_method(method: str, path: str, allow: str) -> Refusal:
    message = f"{path} does not answer {method}. Use {allow}."
    return Refusal(405, message, code="method_not_allowed", allow=allow)


def too_large(limit: int) -> Refusal:
    return Refusal(413, f"The request body is larger than {limit} bytes. Send a smaller one.", code="request_too_large")


def internal(request_id: str) -> Refusal:
    return Refusal(500, f"The gateway failed to answer. Try again, or tell support {request_id}.", SERVER)


def overloaded(message: str, retry_after_seconds: float) -> Refusal:
    return Refusal(503, message, SERVER, "engine_overloaded", retry_after_seconds=retry_after_seconds)


def cold_start_timeout(retry_after_seconds: float) -> Refusal:
    message = "No replica of this deployment became ready in time. Try again shortly."
    return Refusal(503, message, SERVER, "cold_start_timeout", retry_after_seconds=retry_after_seconds)


def deployment_failed(reason: str) -> Refusal:
    cause = f": {reason.rstrip('.')}" if reason else ""
    message = f"This deployment has failed{cause}. Its owner has to replace it."
    return Refusal(503, message, SERVER, "deployment_failed", should_retry=False)


def unavailable(message: str, retry_after_seconds: float = 5) -> Refusal:
    """The gateway itself cannot admit anything now."""
    return Refusal(503, message, SERVER, "service_unavailable", retry_after_seconds=retry_after_seconds)


def comment(text: str) -> bytes:
    """A line of a stream that clients skip; it keeps the connection alive, and people who look can read it."""
    return f": {text}\n\n".encode()


def upstream_lost(status: int = 503) -> Refusal:
    message = "The replica that answered this request was lost. What was sent so far is incomplete; try again."
    return Refusal(status, message, SERVER, "upstream_lost", retry_after_seconds=5 if status == 503 else None)


def unreachable() -> Refusal:
    message = "No replica of this deployment can be reached. Try again shortly."
    return Refusal(503, message, SERVER, "upstream_lost", retry_after_seconds=5)


def no_stream() -> Refusal:
    return Refusal(500, "The engine did not answer with a stream. Ask without `stream`, or try again.", SERVER)


def restarting() -> Refusal:
    """For a request that still waited when the gateway had to stop."""
    return unavailable("The gateway is being restarted, and this request was still waiting. Try again.", 2)


def upstream_timeout() -> Refusal:
    return Refusal(504, "The replica did not answer in time. Try again.", SERVER, "upstream_timeout")


def shutting_down() -> Refusal:
    message = "The gateway is being restarted and could not finish this answer. Try again."
    return Refusal(503, message, SERVER, "upstream_lost", retry_after_seconds=2)


def normalised(status: int, body: bytes) -> Refusal:
    """An engine's error in our shape. The engine's message is for the caller only: it may quote the prompt."""
    message, param, code = _engine_error(body)
    if status in {429, 503}:
        return overloaded(message or "The engine has no room for this request.", 5)
    if status == 504:
        return upstream_timeout()
    if status >= 500 or status in {401, 403} or status < 400:
        return Refusal(500, message or "The engine failed to answer. Try again.", SERVER)
    if "maximum context length" in message or code == "context_length_exceeded":
        return Refusal(400, message, code="context_length_exceeded", param=param or "messages")
    kept = status if status in {400, 404, 413, 422} else 400
    return Refusal(kept, message or "The engine refused the request.", code=code, param=param)


def _engine_error(body: bytes) -> tuple[str, str | None, str | None]:
    """(message, param, code) out of the shapes of vLLM (nested and flat), SGLang, TGI, Hugging Face and FastAPI."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return body[:2000].decode("utf-8", "replace").strip(), None, None
    fields = data if isinstance(data, dict) else {}
    error = fields.get("error", fields)
    if not isinstance(error, dict):
        return _text(error), None, None
    param, code = error.get("param"), error.get("code")
    return (
        _text(error.get("message", error.get("detail", ""))),
        param if isinstance(param, str) else None,
        code if isinstance(code, str) and not code.isdecimal() else None,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def model_object(route: RouteRecord, adapter: str = "") -> dict[str, Any]:
    """A deployment, or one of its adapters, as vLLM lists them: `root` and `parent` name the base."""
    return {
        "id": f"{route.name}:{adapter}" if adapter else route.name,
        "object": "model",
        "created": int(route.created_at),
        "owned_by": route.organization_slug,
        "root": route.name,
        "parent": route.name if adapter else None,
    }


def model_body(route: RouteRecord, adapter: str = "") -> bytes:
    return json.dumps(model_object(route, adapter)).encode()


def models_body(routes: Iterable[RouteRecord]) -> bytes:
    """All of them with their adapters, by name."""
    data = [
        model_object(route, adapter)
        for route in sorted(routes, key=lambda route: route.name)
        for adapter in ("", *sorted(route.adapters))
    ]
    return json.dumps({"object": "list", "data": data}).encode()
