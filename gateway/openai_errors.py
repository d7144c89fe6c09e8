"""The errors of the gateway in the format of the OpenAI API, and the normalization of engine errors. Pure.

An error body is `{"error": {"message", "type", "param", "code"}}`; docs/gateway.md lists statuses and codes. Functions
that build an error are named after its code. 409 is never used, because OpenAI clients retry it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from gateway.sse import DONE_EVENT

JSON_CONTENT_TYPE = "application/json"
MAX_RETRY_AFTER_SECONDS = 120  # OpenAI clients raise at once instead of waiting longer
MAX_ECHOED_CHARACTERS = 200

HTTP_REFUSAL_CODES = {408: "request_timeout", 413: "request_too_large", 431: "request_head_too_large"}

INVALID_REQUEST, SERVER_ERROR = "invalid_request_error", "server_error"


@dataclass(frozen=True)
class ErrorResponse:
    """An error, rendered as a response or as the last event of a stream.

    `retry_after_seconds` is limited to MAX_RETRY_AFTER_SECONDS, and rounded up in the header that is in seconds.
    `should_retry` sets the header `x-should-retry`, which overrides the client's own rules; None omits it. `allow` is
    the header of a 405.
    """

    status: int
    message: str
    type: str = INVALID_REQUEST
    code: str | None = None
    param: str | None = None
    retry_after_seconds: float | None = None
    should_retry: bool | None = None
    allow: str | None = None

    def body(self) -> bytes:
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return json.dumps({"error": error}, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")

    def event(self) -> bytes:
        """Render the error as the end of a stream: an event with the error body, then `[DONE]`."""
        return b"data: " + self.body() + b"\n\n" + DONE_EVENT

    def headers(self) -> dict[str, str]:
        headers = {"content-type": JSON_CONTENT_TYPE}
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        if self.retry_after_seconds is not None:
            seconds = min(self.retry_after_seconds, MAX_RETRY_AFTER_SECONDS)
            milliseconds = max(math.ceil(round(seconds * 1000, 3)), 1)
            headers |= {"retry-after": str(-(-milliseconds // 1000)), "retry-after-ms": str(milliseconds)}
        if self.should_retry is not None:
            headers["x-should-retry"] = "true" if self.should_retry else "false"
        return headers | ({"allow": self.allow} if self.allow else {})


def invalid_request(message: str, param: str | None = None) -> ErrorResponse:
    return ErrorResponse(400, message, param=param)


def out_of_range(param: str, message: str) -> ErrorResponse:
    return ErrorResponse(422, message, code=f"invalid_{param}", param=param)


def context_length_exceeded(context_length: int, min_tokens: int, param: str) -> ErrorResponse:
    return ErrorResponse(
        400,
        f"This model's maximum context length is {context_length} tokens, and the prompt is at least {min_tokens} "
        "tokens long. Shorten it.",
        code="context_length_exceeded",
        param=param,
    )


def invalid_api_key(message: str) -> ErrorResponse:
    return ErrorResponse(401, message, code="invalid_api_key")


def permission_denied(message: str) -> ErrorResponse:
    return ErrorResponse(403, message, code="permission_denied")


def model_not_found(model: str) -> ErrorResponse:
    """Also used for deployments that the caller may not see, which must be indistinguishable from missing ones."""
    return ErrorResponse(
        404,
        f"The model `{model[:MAX_ECHOED_CHARACTERS]}` does not exist or you do not have access to it.",
        code="model_not_found",
        param="model",
    )


def unknown_url(method: str, path: str) -> ErrorResponse:
    return ErrorResponse(
        404, f"Unknown request URL: {method} {path[:MAX_ECHOED_CHARACTERS]}. Check the path.", code="unknown_url"
    )


def method_not_allowed(method: str, path: str, allow: str) -> ErrorResponse:
    message = f"{path} does not answer {method}. Use {allow}."
    return ErrorResponse(405, message, code="method_not_allowed", allow=allow)


def refused_by_http(status: int, message: str) -> ErrorResponse:
    """Refuse what is not a valid HTTP request, or whose body is too large or too late."""
    if status == 503:
        return service_unavailable(message)
    return ErrorResponse(status, message, code=HTTP_REFUSAL_CODES.get(status))


def internal_error(request_id: str) -> ErrorResponse:
    return ErrorResponse(500, f"The gateway failed to answer. Try again, or tell support {request_id}.", SERVER_ERROR)


def engine_overloaded(message: str, retry_after_seconds: float) -> ErrorResponse:
    return ErrorResponse(503, message, SERVER_ERROR, "engine_overloaded", retry_after_seconds=retry_after_seconds)


def rate_limit_exceeded(unit: str, message: str, retry_after_seconds: float) -> ErrorResponse:
    """`unit`: "requests" or "tokens"."""
    return ErrorResponse(429, message, unit, "rate_limit_exceeded", retry_after_seconds=retry_after_seconds)


def cold_start_timeout(retry_after_seconds: float) -> ErrorResponse:
    message = "No replica of this deployment became ready in time. Try again shortly."
    return ErrorResponse(503, message, SERVER_ERROR, "cold_start_timeout", retry_after_seconds=retry_after_seconds)


def deployment_failed(reason: str) -> ErrorResponse:
    cause = f": {reason.rstrip('.')}" if reason else ""
    message = f"This deployment has failed{cause}. Its owner has to replace it."
    return ErrorResponse(503, message, SERVER_ERROR, "deployment_failed", should_retry=False)


def service_unavailable(message: str, retry_after_seconds: float = 5) -> ErrorResponse:
    """The gateway itself cannot admit requests."""
    return ErrorResponse(503, message, SERVER_ERROR, "service_unavailable", retry_after_seconds=retry_after_seconds)


def upstream_lost(status: int = 503) -> ErrorResponse:
    message = "The replica that answered this request was lost. What was sent so far is incomplete; try again."
    return ErrorResponse(
        status, message, SERVER_ERROR, "upstream_lost", retry_after_seconds=5 if status == 503 else None
    )


def replicas_unreachable() -> ErrorResponse:
    message = "No replica of this deployment can be reached. Try again shortly."
    return ErrorResponse(503, message, SERVER_ERROR, "upstream_lost", retry_after_seconds=5)


def stream_expected() -> ErrorResponse:
    return ErrorResponse(
        500, "The engine did not answer with a stream. Ask without `stream`, or try again.", SERVER_ERROR
    )


def stopped_while_queued() -> ErrorResponse:
    return service_unavailable("The gateway is being restarted, and this request was still waiting. Try again.", 2)


def upstream_timeout() -> ErrorResponse:
    return ErrorResponse(504, "The replica did not answer in time. Try again.", SERVER_ERROR, "upstream_timeout")


def stopped_while_streaming() -> ErrorResponse:
    message = "The gateway is being restarted and could not finish this answer. Try again."
    return ErrorResponse(503, message, SERVER_ERROR, "upstream_lost", retry_after_seconds=2)


def normalize_engine_error(status: int, body: bytes) -> ErrorResponse:
    """Convert an engine's error response. Never log its message: engines quote prompts in it."""
    message, param, code = _parse_engine_error(body)
    if status in {429, 503}:
        return engine_overloaded(message or "The engine has no room for this request.", 5)
    if status == 504:
        return upstream_timeout()
    if status >= 500 or status in {401, 403} or status < 400:
        return ErrorResponse(500, message or "The engine failed to answer. Try again.", SERVER_ERROR)
    if "maximum context length" in message or code == "context_length_exceeded":
        return ErrorResponse(400, message, code="context_length_exceeded", param=param or "messages")
    known_status = status if status in {400, 404, 413, 422} else 400
    return ErrorResponse(known_status, message or "The engine refused the request.", code=code, param=param)


def _parse_engine_error(body: bytes) -> tuple[str, str | None, str | None]:
    """Extract (message, param, code) from the formats of vLLM (nested and flat), SGLang, TGI, Hugging Face and FastAPI.

    Raw text of at most 2,000 bytes is the message if the body is not JSON.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return body[:2000].decode("utf-8", "replace").strip(), None, None
    fields = data if isinstance(data, dict) else {}
    error = fields.get("error", fields)
    if not isinstance(error, dict):
        return _to_text(error), None, None
    param, code = error.get("param"), error.get("code")
    return (
        _to_text(error.get("message", error.get("detail", ""))),
        param if isinstance(param, str) else None,
        code if isinstance(code, str) and not code.isdecimal() else None,
    )


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
