"""Limits of request bodies, and that the work of validating and editing them grows no faster than they do."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import request_validation
from gateway.openai_errors import ErrorResponse
from gateway.request_validation import InferencePath, ValidatedBody, is_quick_to_validate, validate_body

MESSAGE = '{"role":"user","content":"x"}'
MESSAGES = f'"messages":[{MESSAGE}]'


def nest(depth: int) -> str:
    return "[" * depth + "]" * depth


def build(path: InferencePath, rest: str) -> bytes:
    prompt = {InferencePath.CHAT: MESSAGES, InferencePath.COMPLETIONS: '"prompt":"x"'}.get(path)
    return ("{" + ",".join(filter(None, ['"model":"m"', prompt, rest])) + "}").encode()


CHAT, COMPLETIONS, EMBEDDINGS = InferencePath
LIMITS = {
    "members": (CHAT, lambda n: write_members(number(n - 2)), 1000, None),
    "depth": (CHAT, lambda n: f'"a":{nest(n - 1)}', 100, None),
    "depth beside texts with brackets": (CHAT, lambda n: f'"a":["]}}\\\\","\\"]",{nest(n - 2)}]', 100, None),
    "depth of content": (CHAT, lambda n: f'"messages":[{{"role":"user","content":{nest(n - 3)}}}]', 100, None),
    "messages": (CHAT, lambda n: f'"messages":[{",".join([MESSAGE] * n)}]', 10_000, "messages"),
    "content parts": (
        CHAT,
        lambda n: '"messages":[{"role":"user","content":[' + ",".join(['{"type":"text","text":"x"}'] * n) + "]}]",
        2048,
        "messages.[0].content",
    ),
    "prompts": (COMPLETIONS, lambda n: f'"prompt":[{",".join(["[1]"] * n)}]', 2048, "prompt"),
    "inputs": (EMBEDDINGS, lambda n: f'"input":[{",".join(["[1]"] * n)}]', 2048, "input"),
}


@pytest.mark.parametrize(("path", "write", "limit", "param"), LIMITS.values(), ids=LIMITS.keys())
def test_a_body_at_its_limit_is_accepted_and_one_above_is_told_the_limit(path, write, limit, param):
    assert isinstance(validate_body(path, build(path, write(limit))), ValidatedBody)
    error = validate_body(path, build(path, write(limit + 1)))
    assert isinstance(error, ErrorResponse)
    assert (error.status, error.param, str(limit) in error.message) == (400, param, True)


def test_one_input_may_have_more_token_ids_than_a_request_may_have_inputs():
    body = json.dumps({"model": "m", "input": list(range(9000))}).encode()
    result = validate_body(EMBEDDINGS, body)
    assert isinstance(result, ValidatedBody)
    assert result.input_estimate == 9000


def test_content_nested_400_deep_is_refused():
    message = {"role": "user", "content": json.loads('[{"a":' * 200 + "1" + "}]" * 200)}
    error = validate_body(CHAT, json.dumps({"model": "m", "messages": [message]}).encode())
    assert isinstance(error, ErrorResponse)
    assert (error.status, "100 levels" in error.message) == (400, True)


def write_members(names: list[str], value: str = "1") -> str:
    return ",".join(f"{json.dumps(name)}:{value}" for name in names)


def number(n: int) -> list[str]:
    return [f"a{index}" for index in range(n)]


DEEP = "[" * 90, "]" * 90
GROWING = {
    "unknown members": lambda n: '"stream_options":{"a":[]},' + write_members(number(n)),
    "equal members": lambda n: '"stream_options":{"a":[]},' + write_members(["a"] * n),
    "stream options": lambda n: write_members(["stream_options"] * n, '{"a":{}}'),
    "options in pieces": lambda n: '"stream_options":{' + write_members(number(n), "{}") + "}",
    "content": lambda n: '"messages":[{"role":"user","content":[{"x":'
    + DEEP[0] + ",".join(['"y"'] * n) + DEEP[1] + "}]}]",
    "nested arguments": lambda n: '"extra_body":{"extra_body":{' + write_members(number(n)) + "}}",
    "messages": lambda n: f'"messages":[{",".join([MESSAGE] * n)}]',
}  # fmt: skip


@pytest.mark.parametrize("write", GROWING.values(), ids=GROWING.keys())
def test_twice_the_body_takes_at_most_twice_the_work(write, monkeypatch):
    for name in ("MAX_MEMBERS", "MAX_MESSAGES", "MAX_CONTENT_PARTS"):
        monkeypatch.setattr(request_validation, name, 10**9)
    _, once, twice = (count_calls(build(CHAT, f'"stream":true,{write(n)}')) for n in (1, 2000, 4000))
    assert twice < once * 2.2


def count_calls(body: bytes) -> int:
    """Count the calls of Python and C functions that validating and editing the body takes."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        result = validate_body(CHAT, body)
        upstream = result.build_upstream_body() if isinstance(result, ValidatedBody) else b""
    finally:
        sys.setprofile(None)
    assert json.loads(upstream)["stream_options"]["include_usage"] is True
    return calls


WORK = {"members": ",", "lists": "[", "objects": "{"}


@pytest.mark.parametrize("mark", WORK.values(), ids=WORK.keys())
def test_large_bodies_and_bodies_of_many_values_are_not_validated_on_the_event_loop(mark):
    assert is_quick_to_validate(b"x" * 512 * 1024)
    assert not is_quick_to_validate(b"x" * (512 * 1024 + 1))
    assert is_quick_to_validate(mark.encode() * 16 * 1024)
    assert is_quick_to_validate(mark.encode() * 20_000)
    assert not is_quick_to_validate(mark.encode() * 20_001)


NAMES = st.sampled_from(["stream_options", "max_tokens", "max_completion_tokens", "seed", "x"])
OPTIONS = st.sampled_from([None, {}, {"include_usage": True}, {"x": {"y": "\ud800"}, "include_usage": False}])
CAPS = st.sampled_from([None, 5])
MEMBERS = st.lists(
    st.tuples(st.just("stream_options"), OPTIONS)
    | st.tuples(st.sampled_from(["max_tokens", "max_completion_tokens"]), CAPS)
    | st.tuples(NAMES.filter("x".__eq__), st.text() | st.just({"stream_options": {"include_usage": True}})),
    max_size=5,
)


@given(MEMBERS, st.booleans(), st.sampled_from(["every_chunk", "last_chunk", "none"]), st.booleans())
def test_the_upstream_body_differs_from_the_clients_by_usage_and_cap_only(members, stream, reporting, escaped):
    names = {"stream_options": '"stream_\\u006fptions"'} if escaped else {}
    given_members = [("model", "m"), ("prompt", "x"), *members, ("stream", stream)]
    given_members = [(name, value) for name, value in given_members if stream or name != "stream_options"]
    texts = [f"{names.get(name, json.dumps(name))}: {json.dumps(value)}" for name, value in given_members]
    body = ("{" + ", ".join(texts) + "}").encode()
    result = validate_body(COMPLETIONS, body)
    assert isinstance(result, ValidatedBody)
    cap = 9 if result.max_output_tokens is None else None
    expected = dict(given_members)
    if stream and reporting != "none":
        asked = {"include_usage": True, "continuous_usage_stats": True}
        kept = asked if reporting == "every_chunk" else {"include_usage": True}
        others = {name: value for name, value in (expected.get("stream_options") or {}).items() if name not in asked}
        expected["stream_options"] = kept | others
    if cap:
        expected["max_tokens"] = cap
    assert json.loads(result.build_upstream_body(reporting, cap)) == expected


@pytest.mark.parametrize("name", ["lora_path", "lora\\u005fpath"])
def test_a_forbidden_field_is_found_however_its_name_is_written(name):
    error = validate_body(CHAT, build(CHAT, f'"{name}":"/x"'))
    assert isinstance(error, ErrorResponse)
    assert error.param == "lora_path"


@given(st.text(alphabet='{}[],:"\\u0019.eE+-NaInfity tru', max_size=12))
def test_a_body_is_accepted_exactly_if_pythons_parser_accepts_it(text):
    body = build(CHAT, f'"x":{text}')
    try:
        json.loads(body)
        is_valid = True
    except ValueError:
        is_valid = False
    assert isinstance(validate_body(CHAT, body), ValidatedBody) is is_valid
