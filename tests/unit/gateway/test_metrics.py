"""Histograms of one request, read from the default registry."""

from prometheus_client import REGISTRY

from gateway import metrics
from gateway.contract import Admitted
from gateway.usage_metering import Latency, TokenCounts, build_usage_event

ADMITTED = Admitted("id", 10.5, "g", "o", "p", "d", "r", "k", "u", "m", True, 4)


def read(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"process": metrics.PROCESS, **labels}) or 0.0


def test_the_times_of_a_request_are_observed_by_kind_of_start():
    names = ("console_gateway_ttft_seconds_sum", "console_gateway_queue_seconds_sum")
    before = [read(name, start="cold") for name in names]
    itl, total = read("console_gateway_itl_seconds_sum"), read("console_gateway_request_seconds_sum", start="cold")
    latency = Latency(2.5, 0.25, 0.5, 2.0, cold=True)
    event = build_usage_event(
        ADMITTED, TokenCounts(1, 0, 2), outcome="completed", status=200, seconds=3, latency=latency
    )
    metrics.record_request(event, 4.0)
    metrics.flush()
    assert [read(name, start="cold") for name in names] == [before[0] + 2.5, before[1] + 2.0]
    assert read("console_gateway_itl_seconds_sum") == itl + 0.25
    assert read("console_gateway_request_seconds_sum", start="cold") == total + 4.0
