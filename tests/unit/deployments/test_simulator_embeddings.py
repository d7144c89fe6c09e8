"""The simulator's embeddings, recomputed."""

import base64
import hashlib
import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.engines.simulator import embeddings
from deployments.engines.simulator.request_json import RequestError

NAMES = ("chat", "demo/chat", "chat:sql")


def request(**data: Any) -> embeddings.EmbeddingRequest:
    return embeddings.parse(json.dumps(data).encode(), served_names=NAMES, max_model_len=10)


def answered(**data: Any) -> dict[str, Any]:
    embedding = request(**data)
    rows = [embeddings.row(embedding, index) for index in range(len(embedding.inputs))]
    body: dict[str, Any] = json.loads(embeddings.body(embedding, "embd-1", 5, rows))
    return body


def recomputed(hashed: bytes, dimensions: int = 64) -> list[float]:
    """The rule of docs/engines.md, written a second time."""
    digest = hashlib.shake_256(hashed).digest(2 * dimensions)
    numbers = [
        int.from_bytes(digest[2 * place : 2 * place + 2], "little", signed=True) + 0.5 for place in range(dimensions)
    ]
    return [number / math.dist(numbers, [0] * dimensions) for number in numbers]


@pytest.mark.parametrize(
    ("data", "hashed"),
    [
        pytest.param({"input": "grün"}, "\ntext\ngrün", id="text"),
        pytest.param({"input": [7, 11]}, "\nids\n7,11", id="token ids"),
        pytest.param({"input": "a", "model": "chat:sql"}, "sql\ntext\na", id="by an adapter"),
    ],
)
def test_anybody_can_recompute_a_vector(data: dict[str, Any], hashed: str) -> None:
    (row,) = answered(**data)["data"]
    assert row["embedding"] == pytest.approx(recomputed(hashed.encode()), rel=1e-6)


@given(st.text(max_size=40), st.integers(min_value=1, max_value=300))
def test_a_vector_has_the_asked_dimensions_and_length_one(text: str, dimensions: int) -> None:
    vector = struct.unpack(f"<{dimensions}f", embeddings.compute_vector(text, dimensions=dimensions))
    assert math.hypot(*vector) == pytest.approx(1.0, abs=1e-5)


def test_both_formats_carry_the_same_numbers() -> None:
    (row,) = answered(input="a", dimensions=3)["data"]
    (packed,) = answered(input="a", dimensions=3, encoding_format="base64")["data"]
    assert list(struct.unpack("<3f", base64.b64decode(packed["embedding"]))) == row["embedding"]


@pytest.mark.parametrize(
    ("given_input", "rows", "tokens"),
    [
        pytest.param("abcde", 1, 2, id="a text"),
        pytest.param(["abcd", "é"], 2, 2, id="texts"),
        pytest.param([1, 2, 3], 1, 3, id="token ids"),
        pytest.param([[1, 2], [3]], 2, 3, id="lists of token ids"),
    ],
)
def test_inputs_are_counted_by_the_token_rule(given_input: object, rows: int, tokens: int) -> None:
    body = answered(input=given_input)
    assert [row["index"] for row in body["data"]] == list(range(rows))
    assert body["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0}
    assert (body["object"], body["model"], body["system_fingerprint"]) == ("list", "chat", "simulated")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param({"input": "a", "model": "other"}, 404, id="unknown model"),
        pytest.param({}, 400, id="no input"),
        pytest.param({"input": []}, 400, id="empty list"),
        pytest.param({"input": 5}, 400, id="a number"),
        pytest.param({"input": [{}]}, 400, id="a list of objects"),
        pytest.param({"input": "x" * 41}, 400, id="over the context length"),
        pytest.param({"input": "a", "encoding_format": "hex"}, 400, id="unknown format"),
        pytest.param({"input": "a", "dimensions": 0}, 400, id="no dimensions"),
        pytest.param({"input": "a", "dimensions": 10_000}, 400, id="too many dimensions"),
    ],
)
def test_what_cannot_be_embedded_is_refused_in_the_engines_words(data: dict[str, Any], status: int) -> None:
    with pytest.raises(RequestError) as refused:
        request(**data)
    assert (refused.value.status, refused.value.body["error"]["code"]) == (status, status)
