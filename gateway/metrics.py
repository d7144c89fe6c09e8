"""Prometheus metrics of a gateway process, in multiprocess mode where PROMETHEUS_MULTIPROC_DIR is set.

What every request counts is counted in plain integers, which `flush` adds to the metrics: in multiprocess mode each
change of a metric is a write to a file. No label contains text that a client sent.
"""

from __future__ import annotations

import functools
import os
from collections import Counter as Counts

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


class _Unflushed:
    """Requests in progress, and what was counted since the last flush: responses by (route, status), tokens."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.responses: Counts[tuple[str, int]] = Counts()
        self.tokens: Counts[str] = Counts()


_unflushed = _Unflushed()


@functools.cache
def _get_histogram(histogram: Histogram, *labels: str) -> Histogram:
    """Return the histogram of these labels; finding it takes longer than counting."""
    return histogram.labels(PROCESS, *labels)


def record_start() -> None:
    """Count an inference request in progress."""
    _unflushed.in_flight += 1


def record_end() -> None:
    _unflushed.in_flight -= 1


def record_response(route: str, status: int) -> None:
    """Count one response; `route` is one of the gateway's own paths, or "other"."""
    _unflushed.responses[route, status] += 1


def record_request(event: UsageEvent, seconds: float) -> None:
    """Count the tokens and times of one admitted request, which ended `seconds` after its arrival."""
    _unflushed.tokens["input"] += event.input_tokens
    _unflushed.tokens["output"] += event.output_tokens
    start = "cold" if event.cold else "warm"
    _get_histogram(_duration, start).observe(seconds)
    _get_histogram(_queue, start).observe(event.queue_seconds or 0.0)
    if event.ttft_seconds is not None:
        _get_histogram(_ttft, start).observe(event.ttft_seconds)
    if event.itl_mean_seconds is not None:
        _get_histogram(_itl).observe(event.itl_mean_seconds)


def flush() -> None:
    """Add what was counted since the last call to the metrics."""
    _in_flight.labels(PROCESS).set(_unflushed.in_flight)
    for (route, status), count in _unflushed.responses.items():
        _requests.labels(PROCESS, route, str(status)).inc(count)
    for direction, count in _unflushed.tokens.items():
        _tokens.labels(PROCESS, direction).inc(count)
    _unflushed.responses.clear()
    _unflushed.tokens.clear()


def record_loop_lag(seconds: float) -> None:
    _loop_lag.observe(seconds)
