"""What a request reserves, the headers of limits, and the learned size of prompts."""

import logging
import struct
from dataclasses import replace

import pytest

from gateway import contract, rate_limits
from gateway.contract import API_KEY, ORGANIZATION, REQUESTS, TOKENS, USER, KeyRecord, RouteRecord
from gateway.openai_errors import ErrorResponse
from gateway.rate_limits import Count, Limit, PromptSize, PromptSizes
from gateway.request_validation import InferencePath, validate_body
from gateway.route_table import RouteTable

KEY = KeyRecord("k", "o", "acme", "u", ["inference"], limits={USER: {"tokens_per_minute": 50}})
ROUTE = RouteRecord(
    "d", "owner", "owner", "chat", "open", 0.0, 1000, True,
    limits={ORGANIZATION: {"requests_per_minute": 9}, API_KEY: {"requests_per_minute": 3, "tokens_per_minute": 100}},
)  # fmt: skip
HALF = PromptSize(0.0, 0.5)


def limit(maximum, unit=TOKENS):
    return Limit("d", USER, unit, maximum, "counter")


def plan(body, maximum, context_length=1000, path=InferencePath.CHAT):
    return rate_limits.plan_reservation(
        validate_body(path, body),
        [limit(5, REQUESTS), limit(maximum)],
        prompt_size=HALF,
        context_length=context_length,
        default_output_tokens=100,
    )


def test_limits_of_requests_come_first_and_each_has_a_counter_of_its_own():
    limits = rate_limits.list_limits(ROUTE, KEY)
    assert [(each.scope, each.level, each.unit, each.maximum) for each in limits] == [
        ("d", ORGANIZATION, REQUESTS, 9),
        ("d", API_KEY, REQUESTS, 3),
        ("d", API_KEY, TOKENS, 100),
        (contract.ALL_DEPLOYMENTS, USER, TOKENS, 50),
    ]
    assert len({each.counter for each in limits}) == 4


@pytest.mark.parametrize("maximum", ["abc", "5", 0, -1, 2.5, True, [5]])
def test_a_published_limit_that_is_no_positive_integer_is_ignored_and_logged(maximum, caplog):
    limits = {USER: {"requests_per_minute": maximum, "tokens_per_minute": 50}, "later": {}}
    (kept,) = rate_limits.list_limits(
        rate_limits.drop_invalid_limits(replace(ROUTE, limits=limits)), replace(KEY, limits={})
    )
    assert (kept.unit, kept.maximum) == (TOKENS, 50)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@pytest.mark.parametrize("limits", ["abc", [1], 5, {USER: "abc"}, {USER: 5}])
def test_published_limits_of_another_form_are_ignored_and_logged(limits, caplog):
    assert rate_limits.drop_invalid_limits(replace(KEY, limits=limits)) == replace(KEY, limits={})
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_null_is_no_limit():
    limits = {USER: None, API_KEY: {"tokens_per_minute": None}}
    route = rate_limits.drop_invalid_limits(replace(ROUTE, limits=limits))
    assert rate_limits.list_limits(route, replace(KEY, limits={})) == []


def test_a_record_with_valid_limits_stays_as_it_is(caplog):
    assert [rate_limits.drop_invalid_limits(KEY), rate_limits.drop_invalid_limits(ROUTE)] == [KEY, ROUTE]
    assert not caplog.records


def test_a_route_with_an_invalid_limit_is_read_without_it():
    table = RouteTable()
    table.update([("d", replace(ROUTE, limits={USER: {"tokens_per_minute": "abc"}}).to_json())])
    assert table.routes_by_id["d"] == replace(ROUTE, limits={})


@pytest.mark.parametrize(
    ("more", "maximum", "tokens", "cap"),
    [
        (b"", 10_000, 10 + 100, 100),
        (b',"n":3', 10_000, 10 + 3 * 100, 100),
        (b',"max_tokens":7', 10_000, 10 + 7, None),
        (b',"max_completion_tokens":7,"n":2', 10_000, 10 + 14, None),
        (b"", 60, 60, 50),
        (b',"n":3', 60, 58, 16),
        (b"", 5, 5, 1),
    ],
)
def test_a_reservation_is_the_prompt_and_the_cap_of_each_text(more, maximum, tokens, cap):
    body = b'{"model":"m","messages":[{"role":"user","content":"' + b"x" * 20 + b'"}]' + more + b"}"
    reservation = plan(body, maximum)
    assert (reservation.tokens, reservation.output_cap) == (tokens, cap)


def test_the_cap_leaves_room_for_the_prompt_in_the_context():
    body = b'{"model":"m","messages":[{"role":"user","content":"' + b"x" * 40 + b'"}]}'
    assert plan(body, 10_000, context_length=50).output_cap == 30


def test_several_prompts_generate_several_texts_and_embeddings_none():
    body = b'{"model":"m","prompt":["xxxxxxxxxx","xxxxxxxxxx"],"max_tokens":5,"n":2}'
    assert plan(body, 1000, path=InferencePath.COMPLETIONS).tokens == 10 + 20
    body = b'{"model":"m","input":["xxxxxxxxxx","xxxxxxxxxx"]}'
    reservation = plan(body, 1000, path=InferencePath.EMBEDDINGS)
    assert (reservation.tokens, reservation.output_cap) == (10, None)


def test_only_what_can_never_be_admitted_is_invalid():
    body = b'{"model":"m","messages":[{"role":"user","content":"' + b"x" * 80 + b'"}],"max_tokens":%d}'
    refused = plan(body % 41, 50)
    assert isinstance(refused, ErrorResponse)
    assert (refused.status, refused.code, refused.param) == (422, "invalid_max_tokens", "max_tokens")
    assert plan(body % 40, 50).tokens == 50


def test_without_limits_of_tokens_no_cap_is_sent():
    body = validate_body(InferencePath.CHAT, b'{"model":"m","messages":[{"role":"user","content":"hi"}]}')
    reservation = rate_limits.plan_reservation(
        body, [limit(5, REQUESTS)], prompt_size=HALF, context_length=1000, default_output_tokens=100
    )
    assert (reservation.tokens, reservation.output_cap) == (0, None)


def test_the_headers_report_the_limit_that_has_the_least_left():
    limits = [limit(10, REQUESTS), limit(4, REQUESTS), limit(1000), limit(900)]
    counts = [Count(8, 60_250), Count(1, 12), Count(500, 1500), Count(450, 60_000)]
    assert rate_limits.render_headers(limits, counts) == {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "2",
        "x-ratelimit-reset-requests": "1m0.25s",
        "x-ratelimit-limit-tokens": "900",
        "x-ratelimit-remaining-tokens": "450",
        "x-ratelimit-reset-tokens": "1m0s",
    }


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0s"), (12, "12ms"), (1000, "1s"), (1500, "1.5s"), (59_999, "59.999s"), (360_000, "6m0s")],
)
def test_durations_are_written_as_go_writes_them(milliseconds, text):
    assert rate_limits.format_duration(milliseconds) == text


def test_a_refusal_says_when_to_come_back_to_the_millisecond():
    headers = rate_limits.build_refusal(limit(100), 90, 20, 12_345).headers()
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("13", "12345")


def test_the_size_of_prompts_is_learned_faster_upwards_than_downwards():
    sizes = PromptSizes()
    for _ in range(50):
        sizes.learn("d", 1000, 508)
    assert 500 <= sizes.get("d").estimate(1000) <= 512
    assert sizes.get("other") == PromptSize()
    for _ in range(5):
        sizes.learn("d", 1000, 100)
    assert sizes.get("d").estimate(1000) > 450
    for _ in range(20):
        sizes.learn("d", 10, 45)
    assert 44 <= sizes.get("d").estimate(10) <= 46


def test_the_learned_size_is_bounded():
    size = PromptSize()
    for _ in range(200):
        size = size.learn(1000, 10**9).learn(1, 10**9)
    assert size.tokens_per_byte <= rate_limits.MAX_TOKENS_PER_BYTE
    assert size.template_tokens <= rate_limits.MAX_TEMPLATE_TOKENS


def test_a_counter_of_another_ring_has_nothing():
    counter = struct.pack("<dd", 7, 1000)
    assert contract.read_counter(counter, 1000 * 250) == (7, 60_250)
    assert contract.read_counter(counter, 1241 * 250) == (0, 0)
    assert contract.read_counter(None, 1000 * 250) == (0, 0)
