"""Token counts of streams and responses, and usage events."""

import pytest

from gateway import usage_metering
from gateway.contract import Admitted
from gateway.usage_metering import StreamTokenCounter, TokenCounts


def test_cumulative_usage_is_taken_last_and_never_summed():
    counter = StreamTokenCounter(input_estimate=4)
    for output in (1, 2, 3):
        counter.add_chunk({"prompt_tokens": 9, "completion_tokens": output}, output_chunks=1)
    counter.add_chunk(None, output_chunks=1)
    assert counter.get_counts() == TokenCounts(9, 0, 3)


def test_without_usage_output_chunks_are_counted_as_an_estimate():
    counter = StreamTokenCounter(input_estimate=4)
    counter.add_chunk(None, output_chunks=2)
    assert counter.get_counts() == TokenCounts(4, 0, 2, estimated=True)


USAGES = {
    "cached": ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 3}}, TokenCounts(5, 3, 0)),
    "more cached than sent": ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}}, TokenCounts(5, 5)),
    "details null": ({"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": None}, TokenCounts(5, 0, 2)),
    "negative": ({"prompt_tokens": -5}, None),
    "text": ({"prompt_tokens": "5"}, None),
    "null": (None, None),
}  # fmt: skip


@pytest.mark.parametrize(("given", "counts"), USAGES.values(), ids=USAGES.keys())
def test_parsing_a_usage_object(given, counts):
    assert usage_metering.parse_usage(given) == counts


def test_a_response_without_usage_is_estimated_from_its_text():
    body = b'{"choices":[{"message":{"content":"12345"}},{"text":"678"}]}'
    assert usage_metering.count_response_tokens(body, 4) == TokenCounts(4, 0, 2, estimated=True)
    assert usage_metering.count_response_tokens(b"no json", 4) == TokenCounts(4, 0, 0, estimated=True)


def test_an_event_never_ends_before_its_admission():
    admitted = Admitted("id", 10.5, "g", "o", "p", "d", "r", "k", "u", "m", True, 4)
    event = usage_metering.build_usage_event(
        admitted, TokenCounts(1, 0, 2), outcome="completed", status=200, seconds=-1, ttft_seconds=0.25
    )
    assert (event.finished_at, event.ttft_seconds, event.output_tokens) == (10.5, 0.25, 2)
