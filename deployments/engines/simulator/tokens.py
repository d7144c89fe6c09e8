"""How the simulator counts tokens, and the text that it generates, so that both can be recomputed. Pure.

A text has ceil(UTF-8 bytes / 4) tokens. A chat prompt is the text `<|role|>\\ncontent\\n` of every message, then
`<|assistant|>\\n`; the parts of type text of a content list are joined. A completion prompt is its text; a list of
token ids has its length. Every output token has four ASCII characters, and an answer of n tokens is the first n of
these: `Simulated answer`, for an adapter ` of adapter NAME` padded with spaces to whole tokens, then REST in a loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

OPENING = ("Simu", "late", "d an", "swer")
REST = (
    *(" to ", "your", " pro", "mpt:", " no ", "mode", "l ra", "n, n", "o GP", "U wa", "s us", "ed. ", "Each"),
    *(" tok", "en i", "s fo", "ur c", "hara", "cter", "s of", " thi", "s te", "xt; ", "it g", "oes ", "on, "),
    *("roun", "d an", "d ro", "und,", " unt", "il t", "he l", "imit", " you", " set", " is ", "reac", "hed."),
)


def count(text: str) -> int:
    """Tokens of a text."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 4)


def chat_prompt(messages: Iterable[Mapping[str, Any]]) -> str:
    """The prompt text of chat messages."""
    turns = (f"<|{message.get('role', '')}|>\n{content_text(message.get('content'))}\n" for message in messages)
    return "".join(turns) + "<|assistant|>\n"


def content_text(content: object) -> str:
    """The text of a message's content, which is a string, a list of parts or nothing."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(
        part["text"]
        for part in parts
        if isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)
    )


def count_prompt(prompt: str | list[int]) -> int:
    """Tokens of one completion prompt, text or token ids."""
    return count(prompt) if isinstance(prompt, str) else len(prompt)


@cache
def opening(adapter: str = "") -> tuple[str, ...]:
    """The first tokens of every answer, which name the adapter."""
    suffix = f" of adapter {adapter}" if adapter else ""
    return OPENING + tuple(suffix[start : start + 4].ljust(4) for start in range(0, len(suffix), 4))


def token_text(position: int, adapter: str = "") -> str:
    """The output token at `position`, counted from 0."""
    first = opening(adapter)
    return first[position] if position < len(first) else REST[(position - len(first)) % len(REST)]


def generate(length: int, adapter: str = "") -> str:
    """The text of `length` output tokens."""
    return "".join(token_text(position, adapter) for position in range(length))
