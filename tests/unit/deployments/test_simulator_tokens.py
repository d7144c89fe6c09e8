"""The simulator's token rule, recomputed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.engines.simulator import tokens


@given(st.text())
def test_a_text_has_a_token_for_every_four_bytes_begun(text: str) -> None:
    assert tokens.count(text) == math.ceil(len(text.encode("utf-8", "surrogatepass")) / 4)


@pytest.mark.parametrize(
    ("messages", "prompt"),
    [
        pytest.param([{"role": "user", "content": "hi"}], "<|user|>\nhi\n<|assistant|>\n", id="one message"),
        pytest.param(
            [{"role": "system", "content": "be kind"}, {"role": "user", "content": "é"}],
            "<|system|>\nbe kind\n<|user|>\né\n<|assistant|>\n",
            id="two messages",
        ),
        pytest.param(
            [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}],
                }
            ],
            "<|user|>\nab\n<|assistant|>\n",
            id="text parts are joined",
        ),
        pytest.param([{"role": "assistant", "content": None}], "<|assistant|>\n\n<|assistant|>\n", id="no content"),
    ],
)
def test_a_chat_becomes_one_prompt(messages: list[dict[str, object]], prompt: str) -> None:
    assert tokens.chat_prompt(messages) == prompt


def test_token_ids_count_as_they_are() -> None:
    assert tokens.count_prompt([1, 2, 3]) == 3


@given(st.integers(min_value=1, max_value=500))
def test_an_answer_of_n_tokens_counts_as_n(length: int) -> None:
    assert tokens.count(tokens.generate(length)) == length
    assert tokens.generate(length).startswith("Simulated answer"[: 4 * length])


@pytest.mark.parametrize(
    ("adapter", "text"),
    [
        pytest.param(
            "sql", "Simulated answer of adapter sql  to your prompt: no model ran", id="filled up with a space"
        ),
        pytest.param("mail", "Simulated answer of adapter mail to your prompt: no model ran", id="whole pieces"),
        pytest.param("a.b-c_1", "Simulated answer of adapter a.b-c_1  to your prompt: no mode", id="two pieces"),
    ],
)
def test_an_adapter_says_its_name_and_counts_like_any_text(adapter: str, text: str) -> None:
    said = tokens.generate(15, adapter)
    assert said == text[:60]
    assert [tokens.count(tokens.generate(length, adapter)) for length in range(1, 40)] == list(range(1, 40))


def test_every_piece_is_four_ascii_characters() -> None:
    assert {len(piece.encode("ascii")) for piece in tokens.OPENING + tokens.REST} == {4}
