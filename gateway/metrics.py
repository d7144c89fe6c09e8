"""Prometheus metrics of a gateway process, in multiprocess mode where PROMETHEUS_MULTIPROC_DIR is set.

No label contains text that a client sent.
"""

from __future__ import annotations

import os

from prometheus_client import Counter, Gauge, Histogram

from gateway.contract import UsageEvent

PROCESS = os.environ.get("CONSOLE_PROCESS") or "gateway"

_requests = Counter(
    "console_gateway_requests_total", "Responses by route and HTTP status", ["process", "route", "status"]
)
_tokens = Counter("console_gateway_tokens_total", "Tokens by direction", ["process", "direction"])
_in_flight = Gauge(
    "console_gateway_in_flight", "Inference requests in progress", ["process"], multiprocess_mode="livesum"
)
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
GAP_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 2.5, 10)
LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_ttft = Histogram(
    "console_gateway_ttft_seconds",
    "Seconds from arrival to the first output of a stream, queueing included",
    ["process", "start"],
    buckets=SECONDS,
)
_itl = Histogram(
    "console_gateway_itl_seconds", "Mean seconds between the chunks of a stream", ["process"], buckets=GAP_SECONDS
)
_queue = Histogram(
    "console_gateway_queue_seconds", "Seconds that a request waited for a slot", ["process", "start"], buckets=SECONDS
)
_duration = Histogram(
    "console_gateway_request_seconds",
    "Seconds from arrival to the end of the response",
    ["process", "start"],
    buckets=SECONDS,
)
_loop_lag = Histogram(
    "console_gateway_loop_lag_seconds",
    "Seconds by which the event loop was late, sampled",
    ["process"],
    buckets=LAG_SECONDS,
).labels(PROCESS)
in_flight = _in_flight.labels(PROCESS)


def record_response(route: str, status: int) -> None:
    """Count one response; `route` is one of the gateway's own paths, or "other"."""
    _requests.labels(PROCESS, route, str(status)).inc()


def record_request(event: UsageEvent, seconds: float) -> None:
    """Count the tokens and times of one admitted request, which ended `seconds` after its arrival."""
    _tokens.labels(PROCESS, "input").inc(event.input_tokens)
    _tokens.labels(PROCESS, "output").inc(event.output_tokens)
    start = "cold" if event.cold else "warm"
    _duration.labels(PROCESS, start).observe(seconds)
    _queue.labels(PROCESS, start).observe(event.queue_seconds or 0.0)
    if event.ttft_seconds is not None:
        _ttft.labels(PROCESS, start).observe(event.ttft_seconds)
    if event.itl_mean_seconds is not None:
        _itl.labels(PROCESS).observe(event.itl_mean_seconds)


def record_loop_lag(seconds: float) -> None:
    _loop_lag.observe(seconds)
