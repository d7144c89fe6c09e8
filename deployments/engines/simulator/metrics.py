"""The simulator's /metrics, with vLLM's names and labels."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

# vLLM's own buckets, in seconds.
TTFT = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1,
    2.5,
    5,
    7.5,
    10,
    20,
    40,
    80,
    160,
    640,
    2560,
)
ITL = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
WHOLE = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The metrics of one engine; `model` is its first served name."""

    def __init__(self, model: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self.running = self._gauge("vllm:num_requests_running", "Requests being generated.", model)
        self.waiting = self._gauge("vllm:num_requests_waiting", "Requests waiting for room.", model)
        self.cache = self._gauge("vllm:kv_cache_usage_perc", "Share of the KV cache in use, 0 to 1.", model)
        self.prompt_tokens = self._counter("vllm:prompt_tokens", "Prompt tokens processed.", model)
        self.generation_tokens = self._counter("vllm:generation_tokens", "Tokens generated.", model)
        self.ttft = self._histogram("vllm:time_to_first_token_seconds", "Time to first token.", model, TTFT)
        self.itl = TokenGaps("vllm:inter_token_latency_seconds", "Time between tokens.", model, ITL)
        self._registry.register(self.itl)
        self.whole = self._histogram("vllm:e2e_request_latency_seconds", "Whole requests.", model, WHOLE)
        self.queue = self._histogram("vllm:request_queue_time_seconds", "Time spent waiting.", model, WHOLE)
        success = Counter(
            "vllm:request_success",
            "Requests that ended.",
            ("engine", "finished_reason", "model_name"),
            registry=self._registry,
        )
        self.success = {reason: success.labels("0", reason, model) for reason in ("length", "stop", "abort")}

    def render(self) -> bytes:
        return generate_latest(self._registry)

    def _gauge(self, name: str, text: str, model: str) -> Gauge:
        return Gauge(name, text, ("engine", "model_name"), registry=self._registry).labels("0", model)

    def _counter(self, name: str, text: str, model: str) -> Counter:
        return Counter(name, text, ("engine", "model_name"), registry=self._registry).labels("0", model)

    def _histogram(self, name: str, text: str, model: str, buckets: tuple[float, ...]) -> Histogram:
        labels = ("engine", "model_name")
        return Histogram(name, text, labels, registry=self._registry, buckets=buckets).labels("0", model)


class TokenGaps(Collector):
    """A histogram that adds many equal values at once, as it is updated for every token of every stream."""

    def __init__(self, name: str, text: str, model: str, buckets: tuple[float, ...]) -> None:
        self._description = (name, text, model)
        self._bounds = (*buckets, float("inf"))
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0

    def observe(self, seconds: float, *, times: int) -> None:
        self._counts[bisect_left(self._bounds, seconds)] += times
        self._sum += seconds * times

    def collect(self) -> Iterator[HistogramMetricFamily]:
        name, text, model = self._description
        family = HistogramMetricFamily(name, text, labels=("engine", "model_name"))
        below = zip(map(floatToGoString, self._bounds), accumulate(self._counts), strict=True)
        family.add_metric(("0", model), [(bound, float(count)) for bound, count in below], self._sum)
        yield family
