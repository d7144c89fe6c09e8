"""What the simulator reads from a body and what it answers, without a server."""

import json
from typing import Any

import pytest

from deployments.engines.simulator import tokens
from deployments.engines.simulator.generation_requests import GenerationRequest, RequestError, parse
from deployments.engines.simulator.responses import Response

CHAT: dict[str, Any] = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
TEXT: dict[str, Any] = {"model": "chat", "prompt": "hi"}


def request(data: object, *, chat: bool = True, max_model_len: int = 1000) -> GenerationRequest:
    return parse(json.dumps(data).encode(), chat=chat, served_names=("chat", "demo/chat"), max_model_len=max_model_len)


@pytest.mark.parametrize(
    ("more", "max_tokens"),
    [
        pytest.param({}, 64, id="the default"),
        pytest.param({"max_tokens": 5}, 5, id="max_tokens"),
        pytest.param({"max_tokens": 5, "max_completion_tokens": 6}, 6, id="max_completion_tokens wins"),
        pytest.param({"max_tokens": None}, 64, id="null is unset"),
        pytest.param({"max_tokens": 993}, 993, id="as much as fits"),
    ],
)
def test_it_generates_exactly_what_was_asked(more: dict[str, Any], max_tokens: int) -> None:
    assert request(CHAT | more).max_tokens == max_tokens


def test_the_default_is_cut_to_the_room_that_is_left() -> None:
    assert request(CHAT, max_model_len=20).max_tokens == 13


def test_prompts_are_counted_together_and_choices_multiplied() -> None:
    completion = request({"prompt": ["abcd", [1, 2, 3]], "n": 2}, chat=False)
    assert (completion.prompt_tokens, completion.choices, completion.model) == (4, 4, "chat")


@pytest.mark.parametrize(
    ("data", "chat", "status", "kind"),
    [
        pytest.param(CHAT | {"model": "other"}, True, 404, "NotFoundError", id="unknown model"),
        pytest.param(CHAT | {"max_tokens": 994}, True, 400, "BadRequestError", id="over the context length"),
        pytest.param(TEXT | {"prompt": "x" * 4001}, False, 400, "BadRequestError", id="the prompt alone is too long"),
        pytest.param(CHAT | {"max_tokens": 0}, True, 400, "BadRequestError", id="no tokens"),
        pytest.param(CHAT | {"max_tokens": "5"}, True, 400, "BadRequestError", id="text for a number"),
        pytest.param(CHAT | {"max_tokens": True}, True, 400, "BadRequestError", id="a switch for a number"),
        pytest.param({"model": "chat"}, True, 400, "BadRequestError", id="no messages"),
        pytest.param({"messages": []}, True, 400, "BadRequestError", id="empty messages"),
        pytest.param({"messages": ["x"]}, True, 400, "BadRequestError", id="messages of the wrong type"),
        pytest.param({"prompt": 5}, False, 400, "BadRequestError", id="prompt of the wrong type"),
        pytest.param({"prompt": []}, False, 400, "BadRequestError", id="no prompt"),
        pytest.param(CHAT | {"n": 1000}, True, 400, "BadRequestError", id="too many choices"),
        pytest.param(CHAT | {"stream": "yes"}, True, 400, "BadRequestError", id="stream of the wrong type"),
        pytest.param(CHAT | {"stream_options": {}}, True, 400, "BadRequestError", id="stream options without a stream"),
        pytest.param([], True, 400, "BadRequestError", id="not an object"),
    ],
)
def test_what_cannot_be_done_is_refused_in_the_engines_words(data: object, chat: bool, status: int, kind: str) -> None:
    with pytest.raises(RequestError) as refused:
        request(data, chat=chat)
    error = refused.value.body["error"]
    assert (refused.value.status, error["type"], error["code"]) == (status, kind, status)


def test_malformed_json_is_refused() -> None:
    with pytest.raises(RequestError):
        parse(b"{", chat=True, served_names=("chat",), max_model_len=10)


def parsed(event: bytes) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(event.removeprefix(b"data: "))
    return data


def test_the_first_chunk_carries_the_role_and_the_last_the_reason() -> None:
    response = Response(request(CHAT | {"max_tokens": 2, "stream": True}), "chatcmpl-1", 5)
    first, last = parsed(response.chunk(0, 0, 1)), parsed(response.chunk(1, 0, 2))
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "Simu"}
    assert last["choices"][0]["delta"] == {"content": "late"}
    assert [item["choices"][0]["finish_reason"] for item in (first, last)] == [None, "length"]
    assert "usage" not in first | last


@pytest.mark.parametrize(
    ("options", "usage"),
    [
        pytest.param({"include_usage": True}, None, id="null until the end"),
        pytest.param(
            {"include_usage": True, "continuous_usage_stats": True},
            {"prompt_tokens": 7, "total_tokens": 10, "completion_tokens": 3},
            id="cumulative on every chunk",
        ),
    ],
)
def test_usage_is_told_as_the_options_say(options: dict[str, bool], usage: dict[str, int] | None) -> None:
    response = Response(request(CHAT | {"stream": True, "stream_options": options}), "chatcmpl-1", 5)
    assert parsed(response.chunk(2, 0, 3))["usage"] == usage
    end = parsed(response.usage_chunk(64))
    assert end["choices"] == []
    assert end["usage"] == {"prompt_tokens": 7, "total_tokens": 71, "completion_tokens": 64}


def test_a_chunk_in_the_middle_is_that_of_its_place() -> None:
    response = Response(request(CHAT | {"max_tokens": 40, "stream": True, "n": 2}), "chatcmpl-1", 5)
    for place, index in ((1, 0), (2, 1), (17, 0), (38, 1)):
        (choice,) = parsed(response.chunk(place, index, 9))["choices"]
        assert choice == {
            "index": index,
            "delta": {"content": tokens.token_text(place)},
            "logprobs": None,
            "finish_reason": None,
        }


def test_an_adapter_answers_by_its_own_name() -> None:
    completion = parse(
        json.dumps(TEXT | {"model": "chat:sql", "max_tokens": 12}).encode(),
        chat=False,
        served_names=("chat", "chat:sql"),
        max_model_len=100,
    )
    body = json.loads(Response(completion, "cmpl-1", 5).body())
    assert (completion.adapter, body["model"]) == ("sql", "chat:sql")
    assert body["choices"][0]["text"] == tokens.generate(12, "sql")
    assert body["choices"][0]["text"].startswith("Simulated answer of adapter sql ")


def test_a_whole_answer_has_every_choice_and_counts_them_together() -> None:
    body = json.loads(Response(request(TEXT | {"n": 3, "max_tokens": 4}, chat=False), "cmpl-1", 5).body())
    assert [choice["text"] for choice in body["choices"]] == [tokens.generate(4)] * 3
    assert body["usage"] == {"prompt_tokens": 1, "total_tokens": 13, "completion_tokens": 12}
    assert body["system_fingerprint"] == "simulated"
