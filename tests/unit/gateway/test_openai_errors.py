"""Error responses, and the normalization of engine errors."""

import json

import pytest

from gateway import openai_errors

ENGINE_ERRORS = {
    "vLLM": (400, {"error": {"message": "bad", "type": "BadRequestError", "param": "n", "code": 400}}, 400, None, "n"),
    "vLLM before": (400, {"object": "error", "message": "bad", "param": None, "code": 400}, 400, None, None),
    "TGI": (422, {"error": "bad", "error_type": "validation"}, 422, None, None),
    "FastAPI": (422, {"detail": "bad"}, 422, None, None),
    "plain text": (500, "bad", 500, None, None),
    "conflict": (409, {"error": {"message": "bad"}}, 400, None, None),
    "authentication": (401, {"error": {"message": "bad"}}, 500, None, None),
    "context": (400, "bad: maximum context length is 5", 400, "context_length_exceeded", "messages"),
    "busy": (429, {"error": {"message": "bad"}}, 503, "engine_overloaded", None),
    "slow": (504, {"error": {"message": "bad"}}, 504, "upstream_timeout", None),
    "redirect": (307, "bad", 500, None, None),
}  # fmt: skip


@pytest.mark.parametrize(
    ("status", "data", "expected_status", "code", "param"), ENGINE_ERRORS.values(), ids=ENGINE_ERRORS.keys()
)
def test_engine_errors_are_normalized(status, data, expected_status, code, param):
    raw = data.encode() if isinstance(data, str) else json.dumps(data).encode()
    error_response = openai_errors.normalize_engine_error(status, raw)
    assert (error_response.status, error_response.code, error_response.param) == (expected_status, code, param)
    error = json.loads(error_response.body())["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "bad" in error["message"] or expected_status == 504


@pytest.mark.parametrize(
    ("seconds", "header", "milliseconds"), [(0.1, "1", "100"), (1.2, "2", "1200"), (300, "120", "120000")]
)
def test_retry_after_is_rounded_up_and_never_above_what_clients_accept(seconds, header, milliseconds):
    headers = openai_errors.engine_overloaded("x", seconds).headers()
    assert (headers["retry-after"], headers["retry-after-ms"]) == (header, milliseconds)


def test_an_error_inside_a_stream_is_followed_by_done():
    assert openai_errors.upstream_lost().event().endswith(b"\n\ndata: [DONE]\n\n")
    assert json.loads(openai_errors.upstream_lost().event().split(b"\n")[0][6:])["error"]["code"] == "upstream_lost"


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        ("", "This deployment has failed. Its owner has to replace it."),
        ("Out of memory.", "This deployment has failed: Out of memory. Its owner has to replace it."),
    ],
    ids=["no_reason_known", "reason_is_a_sentence"],
)
def test_the_message_of_a_failed_deployment_contains_the_reason(reason: str, sentence: str) -> None:
    assert openai_errors.deployment_failed(reason).message == sentence
