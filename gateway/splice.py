"""Cuts and inserts members of a JSON object without touching its other bytes. Pure.

Only members of the outermost object are seen. Texts come from bytes by `text_of`, which keeps what is no UTF-8.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

SPACES = " \t\r\n"
_decode = json.JSONDecoder().raw_decode


@dataclass(frozen=True)
class Member:
    """Where a member stands: its name, its first character, where its value starts and where it ends."""

    name: str
    start: int
    value: int
    end: int


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def members(text: str) -> Iterator[Member]:
    """The members of the object `text`; it must be valid JSON."""
    position = _skip(text, text.index("{") + 1)
    while text[position] != "}":
        start = position
        name, position = _decode(text, position)
        value = _skip(text, _skip(text, position) + 1)
        _, end = _decode(text, value)
        yield Member(name, start, value, end)
        position = _skip(text, end)
        position = _skip(text, position + 1) if text[position] == "," else position


def cut(text: str, name: str) -> str:
    """`text` without its members called `name`, and without the comma that each needed."""
    found = list(members(text))
    kept = [member for member in found if member.name != name]
    if len(kept) == len(found):
        return text
    if not kept:
        return text[: found[0].start] + text[found[-1].end :]
    # A member takes along what stands before it, so what leads up to the first kept one is the object's own opening.
    parts = [text[: found[0].start], text[kept[0].start : kept[0].end]]
    for member in kept[1:]:
        before = found[found.index(member) - 1]
        parts.append(text[before.end : member.end])
    return "".join(parts) + text[found[-1].end :]


def clear(text: str, name: str) -> str:
    """`text` with the values of its members called `name` replaced by null."""
    for member in reversed(list(members(text))):
        if member.name == name:
            text = text[: member.value] + "null" + text[member.end :]
    return text


def insert(text: str, name: str, value: object) -> str:
    """`text` with the member `name` as its first one."""
    opening = text.index("{") + 1
    separator = "" if text[_skip(text, opening)] == "}" else ","
    member = f"{json.dumps(name)}:{json.dumps(value, separators=(',', ':'))}"
    return text[:opening] + member + separator + text[opening:]


def _skip(text: str, position: int) -> int:
    while text[position] in SPACES:
        position += 1
    return position
