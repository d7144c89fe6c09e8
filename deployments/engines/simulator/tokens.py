"""How the simulator counts tokens and what it says, so that anybody can recompute it. Pure.

A text has ceil(UTF-8 bytes / 4) tokens. A chat prompt is the text `<|role|>\\ncontent\\n` of every message, then
`<|assistant|>\\n`; the parts of type text of a content list are joined. A completion prompt is its text; a list of
token ids has its length. Every output token is a piece of four ASCII characters, and an answer of n tokens is the
first n pieces: `Simulated answer`, from an adapter ` of adapter NAME` filled up with spaces to whole pieces, then the
rest, round and round.
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
    """The text that the messages of a chat become."""
    turns = (f"<|{one.get('role', '')}|>\n{content_text(one.get('content'))}\n" for one in messages)
    return "".join(turns) + "<|assistant|>\n"


def content_text(content: object) -> str:
    """A message's content, a string, a list of parts or nothing, as text."""
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
    """The first pieces of every answer; they name the adapter that gives it."""
    said = f" of adapter {adapter}" if adapter else ""
    return OPENING + tuple(said[start : start + 4].ljust(4) for start in range(0, len(said), 4))


def piece(place: int, adapter: str = "") -> str:
    """The output token at `place`, counted from 0."""
    first = opening(adapter)
    return first[place] if place < len(first) else REST[(place - len(first)) % len(REST)]


def answer(length: int, adapter: str = "") -> str:
    """The text of `length` output tokens."""
    return "".join(piece(place, adapter) for place in range(length))
