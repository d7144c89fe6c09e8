"""Prometheus metrics of a gateway process, in multiprocess mode where PROMETHEUS_MULTIPROC_DIR is set.

No label contains text that a client sent.
"""

from __future__ import annotations

import os

from prometheus_client import Counter, Gauge, Histogram

PROCESS = os.environ.get("CONSOLE_PROCESS") or "gateway"

_requests = Counter(
    "console_gateway_requests_total", "Responses by route and HTTP status", ["process", "route", "status"]
)
_tokens = Counter("console_gateway_tokens_total", "Tokens by direction", ["process", "direction"])
_in_flight = Gauge(
    "console_gateway_in_flight", "Inference requests in progress", ["process"], multiprocess_mode="livesum"
)
_ttft = Histogram(
    "console_gateway_ttft_seconds",
    "Seconds from arrival to the first byte of a streamed response, queueing included",
    ["process"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
)
in_flight = _in_flight.labels(PROCESS)


def record_response(route: str, status: int) -> None:
    """Count one response; `route` is one of the gateway's own paths, or "other"."""
    _requests.labels(PROCESS, route, str(status)).inc()


def record_tokens(input_tokens: int, output_tokens: int, ttft_seconds: float | None) -> None:
    """Count the tokens of one admitted request, and its time to first token if its response was a stream."""
    _tokens.labels(PROCESS, "input").inc(input_tokens)
    _tokens.labels(PROCESS, "output").inc(output_tokens)
    if ttft_seconds is not None:
        _ttft.labels(PROCESS).observe(ttft_seconds)
