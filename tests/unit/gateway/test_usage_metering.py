"""Token counts of streams and responses, and usage events."""

import pytest

from gateway import usage_metering
from gateway.contract import Admitted
from gateway.usage_metering import Latency, TokenCounts

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


USAGE = '{"prompt_tokens":5,"total_tokens":7,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":1}}'
RESPONSES = {
    "last member": '{"id":"x","choices":[],"usage":%s}',
    "before scalars": '{"choices":[],"usage":%s,"service_tier":null,"fingerprint":"f", "n":1}\n',
    "spaces": '{ "choices" : [], "usage" : %s }',
    "first member": '{"usage":%s,"choices":[{"message":{"content":"x"}}]}',
    "the last of two": '{"usage":{"prompt_tokens":9},"choices":[],"usage":%s}',
    "not the nested one": '{"usage":%s,"choices":[{"usage":{"prompt_tokens":9}}]}',
    "nor the one nested at the end": '{"usage":%s,"x":{"y":1,"usage":{"prompt_tokens":9}}}',
    "nor the one in a text": '{"usage":%s,"x":",\\"usage\\":{\\"prompt_tokens\\":9}}"}',
    "content that is no text": '{"choices":[{"message":{"content":[1]}}],"usage":%s,"x":[]}',
}


@pytest.mark.parametrize("response", RESPONSES.values(), ids=RESPONSES.keys())
def test_the_usage_of_a_response_wherever_it_is(response):
    body = (response % USAGE).encode()
    assert usage_metering.count_response_tokens(body, 4) == TokenCounts(5, 1, 2)


def test_a_long_response_is_not_parsed_for_its_usage(monkeypatch):
    text = "x" * 1_000_000
    for response in (
        '{"x":[],"choices":[{"message":{"content":"%s"}}],"usage":%s,"n":null}',
        '{"data":"%s","usage":%s}',
    ):
        monkeypatch.setattr(usage_metering, "_decode_response", None)
        assert usage_metering.count_response_tokens((response % (text, USAGE)).encode(), 4) == TokenCounts(5, 1, 2)
    monkeypatch.undo()
    unknown = b'{"choices":{"%b":1}}' % text.encode()
    assert usage_metering.count_response_tokens(unknown, 4) == TokenCounts(4, 0, 250_005, estimated=True)


def test_an_event_never_ends_before_its_admission():
    admitted = Admitted("id", 10.5, "g", "o", "p", "d", "r", "k", "u", "m", True, 4)
    event = usage_metering.build_usage_event(
        admitted, TokenCounts(1, 0, 2), outcome="completed", status=200, seconds=-1, latency=Latency(0.25, cold=True)
    )
    assert (event.finished_at, event.ttft_seconds, event.output_tokens) == (10.5, 0.25, 2)
    assert (event.itl_mean_seconds, event.queue_seconds, event.cold) == (None, None, True)
