"""Validation of request bodies and headers."""

import json

import pytest

from gateway.openai_errors import ErrorResponse
from gateway.request_validation import (
    InferencePath,
    ValidatedBody,
    check_context_length,
    parse_cold_start_timeout,
    validate_body,
)

TIMEOUTS = {"absent": (None, 300), "shorter": ("10", 10), "part of a second": (" 0.5", 0.5), "none": ("0", 0),
            "longer": ("900", 300), "endless": ("inf", 300)}  # fmt: skip


@pytest.mark.parametrize(("given", "seconds"), TIMEOUTS.values(), ids=TIMEOUTS.keys())
def test_a_client_may_shorten_the_cold_start_timeout_but_not_extend_it(given, seconds):
    assert parse_cold_start_timeout(given, 300) == seconds


@pytest.mark.parametrize("given", ["", "soon", "-1", "nan", "10s", "1,5"])
def test_a_cold_start_timeout_that_is_not_a_number_of_seconds_is_refused(given):
    error = parse_cold_start_timeout(given, 300)
    assert isinstance(error, ErrorResponse)
    assert (error.status, "X-Scale-Up-Timeout" in error.message) == (400, True)


def build_body(**changes: object) -> bytes:
    fields = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], **changes}
    return json.dumps({name: value for name, value in fields.items() if value != "absent"}).encode()


BODIES = {
    "good": (build_body(), None, None),
    "content as parts": (
        build_body(messages=[{"role": "user", "content": [{"type": "text", "text": "x"}]}]),
        None,
        None,
    ),
    "foreign fields": (build_body(ignore_eos=True, max_completion_tokens=5, api_token="x", seed=1), None, None),
    "nulls": (build_body(max_tokens=None, temperature=None, stream=None, stream_options=None), None, None),
    "empty": (b"", 400, None),
    "no JSON": (b"{'a'}", 400, None),
    "no UTF-8": (b'{"model": "\xff", "messages": []}', 400, None),
    "nested too deep": (b'{"a":' * 100_000, 400, None),
    "list": (b"[]", 400, None),
    "no model": (build_body(model="absent"), 400, "model"),
    "empty model": (build_body(model=""), 400, "model"),
    "model is a number": (build_body(model=3), 400, "model"),
    "no messages": (build_body(messages="absent"), 400, "messages"),
    "messages is text": (build_body(messages="hi"), 400, "messages"),
    "message without role": (build_body(messages=[{"content": "x"}]), 400, "messages.[0]"),
    "stream is text": (build_body(stream="yes"), 400, "stream"),
    "options without stream": (build_body(stream_options={"include_usage": True}), 400, "stream_options"),
    "options is a list": (build_body(stream=True, stream_options=[]), 400, "stream_options"),
    "max_tokens is text": (build_body(max_tokens="5"), 400, "max_tokens"),
    "max_tokens is true": (build_body(max_tokens=True), 400, "max_tokens"),
    "max_tokens 0": (build_body(max_tokens=0), 422, "max_tokens"),
    "max_tokens 1.5": (build_body(max_tokens=1.5), 422, "max_tokens"),
    "max_completion_tokens -1": (build_body(max_completion_tokens=-1), 422, "max_completion_tokens"),
    "temperature 2": (build_body(temperature=2), None, None),
    "temperature 2.01": (build_body(temperature=2.01), 422, "temperature"),
    "temperature NaN": (build_body(temperature=float("nan")), 422, "temperature"),
    "max_tokens infinite": (build_body(max_tokens=float("inf")), 422, "max_tokens"),
    "top_p 0": (build_body(top_p=0), 422, "top_p"),
    "top_p 1": (build_body(top_p=1), None, None),
    "n 0": (build_body(n=0), 422, "n"),
    "presence_penalty -2.1": (build_body(presence_penalty=-2.1), 422, "presence_penalty"),
}


@pytest.mark.parametrize(("given", "status", "param"), BODIES.values(), ids=BODIES.keys())
def test_only_valid_bodies_are_accepted(given, status, param):
    result = validate_body(InferencePath.CHAT, given)
    assert (result.status if isinstance(result, ErrorResponse) else None) == status
    if isinstance(result, ErrorResponse):
        assert result.param == param
        assert result.code == (f"invalid_{param}" if status == 422 else None)


PROMPTS = {
    "text": ("four", 4),
    "texts": (["four", "é"], 6),
    "token ids": ([1, 2, 3], 12),
    "lists of token ids": ([[1, 2], [3]], 12),
}


@pytest.mark.parametrize(("prompt", "size"), PROMPTS.values(), ids=PROMPTS.keys())
def test_the_size_of_a_prompt(prompt, size):
    result = validate_body(InferencePath.COMPLETIONS, json.dumps({"model": "m", "prompt": prompt}).encode())
    assert isinstance(result, ValidatedBody)
    assert (result.prompt_bytes, result.input_estimate) == (size, -(-size // 4))


@pytest.mark.parametrize("prompt", ["absent", None, [], 5, {}])
def test_a_completion_needs_a_prompt(prompt):
    fields = {"model": "m", **({} if prompt == "absent" else {"prompt": prompt})}
    error = validate_body(InferencePath.COMPLETIONS, json.dumps(fields).encode())
    assert isinstance(error, ErrorResponse)
    assert (error.status, error.param) == (400, "prompt")


INPUTS = {
    "text": ("four", 1),
    "texts": (["four", "é"], 2),
    "token ids": ([1, 2, 3], 3),
    "lists of token ids": ([[1, 2], [3]], 3),
    "empty": ("", None),
    "no input": ("absent", None),
    "null": (None, None),
    "number": (5, None),
    "object": ({"text": "x"}, None),
    "empty list": ([], None),
    "one of them empty": (["x", ""], None),
    "an empty list of ids": ([[]], None),
    "true is no token": ([True], None),
    "text among ids": ([[1], "x", 2], None),
    "fractions": ([1.5], None),
}


@pytest.mark.parametrize(("given", "tokens"), INPUTS.values(), ids=INPUTS.keys())
def test_valid_embedding_inputs_and_their_size(given, tokens):
    fields = {"model": "m", **({} if given == "absent" else {"input": given})}
    result = validate_body(InferencePath.EMBEDDINGS, json.dumps(fields).encode())
    if tokens is None:
        assert isinstance(result, ErrorResponse)
        assert (result.status, result.param) == (400, "input")
    else:
        assert isinstance(result, ValidatedBody)
        assert (result.input_estimate, result.stream) == (tokens, False)


@pytest.mark.parametrize(
    ("more", "status"), [({"stream": True}, 400), ({"dimensions": 0}, 422), ({"dimensions": 8}, 0)]
)
def test_embeddings_cannot_be_streamed_and_have_positive_dimensions(more, status):
    result = validate_body(InferencePath.EMBEDDINGS, json.dumps({"model": "m", "input": "x", **more}).encode())
    assert (result.status if isinstance(result, ErrorResponse) else 0) == status


@pytest.mark.parametrize("path", [InferencePath.COMPLETIONS, InferencePath.EMBEDDINGS])
def test_each_of_several_prompts_may_use_the_whole_context(path):
    given = json.dumps({"model": "m", path.prompt_field: ["x" * 800] * 5}).encode()
    result = validate_body(path, given)
    assert isinstance(result, ValidatedBody)
    assert check_context_length(result, 100) is None
    assert check_context_length(result, 99) is not None


LENGTHS = {
    "fits": ("x" * 807, 100, None),
    "cannot fit at eight bytes per token": ("x" * 808, None, "context_length_exceeded"),
    "cap equals the context": ("x", 100, None),
    "cap above the context": ("x", 101, "invalid_max_tokens"),
}


@pytest.mark.parametrize(("prompt", "cap", "code"), LENGTHS.values(), ids=LENGTHS.keys())
def test_prompts_and_limits_that_exceed_the_context_are_refused(prompt, cap, code):
    result = validate_body(
        InferencePath.CHAT, build_body(messages=[{"role": "user", "content": prompt}], max_tokens=cap)
    )
    assert isinstance(result, ValidatedBody)
    error = check_context_length(result, 100)
    assert (error.code if error else None) == code


def test_our_usage_options_replace_the_clients_and_nothing_else_changes():
    options = b'"stream_options":{"x":1,"include_usage":false}, '
    given = b'{"model":"m", "stream": true,' + options + b'"messages":[{"role":"\xc3\xa9"}]}'
    result = validate_body(InferencePath.CHAT, given)
    assert isinstance(result, ValidatedBody)
    assert result.build_upstream_body() == (
        b'{"model":"m", "stream": true,"stream_options":{"include_usage":true,"continuous_usage_stats":true,"x":1}, '
        b'"messages":[{"role":"\xc3\xa9"}]}'
    )


def test_a_body_without_stream_is_forwarded_as_it_is():
    given = b' {"model":"m","messages":[{"role":"user"}],"n":1e0}\n'
    result = validate_body(InferencePath.CHAT, given)
    assert isinstance(result, ValidatedBody)
    assert result.build_upstream_body() is given
