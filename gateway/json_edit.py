"""Removes and inserts members of a JSON object without changing any other byte. Pure.

Only members of the outermost object are considered. `decode_lossless` and `encode_lossless` convert between bytes and
text and preserve bytes that are not valid UTF-8.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

SPACES = " \t\r\n"
_decode = json.JSONDecoder().raw_decode


@dataclass(frozen=True)
class Member:
    """The position of a member in the text: offsets of its name, of its value, and of the character after its value."""

    name: str
    start: int
    value: int
    end: int


def decode_lossless(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def encode_lossless(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def iterate_members(text: str) -> Iterator[Member]:
    """Yield the members of the object `text`, which must be valid JSON."""
    position = _skip_whitespace(text, text.index("{") + 1)
    while text[position] != "}":
        start = position
        name, position = _decode(text, position)
        value = _skip_whitespace(text, _skip_whitespace(text, position) + 1)
        _, end = _decode(text, value)
        yield Member(name, start, value, end)
        position = _skip_whitespace(text, end)
        position = _skip_whitespace(text, position + 1) if text[position] == "," else position


def remove_members(text: str, name: str) -> str:
    """Remove all members called `name`, each with the comma that separated it."""
    members = list(iterate_members(text))
    kept = [member for member in members if member.name != name]
    if len(kept) == len(members):
        return text
    if not kept:
        return text[: members[0].start] + text[members[-1].end :]
    # A kept member is copied with the separator before it, the first one with the opening of the object.
    parts = [text[: members[0].start], text[kept[0].start : kept[0].end]]
    for member in kept[1:]:
        previous = members[members.index(member) - 1]
        parts.append(text[previous.end : member.end])
    return "".join(parts) + text[members[-1].end :]


def set_members_to_null(text: str, name: str) -> str:
    """Replace the values of all members called `name` by null."""
    for member in reversed(list(iterate_members(text))):
        if member.name == name:
            text = text[: member.value] + "null" + text[member.end :]
    return text


def insert_member(text: str, name: str, value: object) -> str:
    """Insert the member `name` as the first one."""
    opening = text.index("{") + 1
    separator = "" if text[_skip_whitespace(text, opening)] == "}" else ","
    member = f"{json.dumps(name)}:{json.dumps(value, separators=(',', ':'))}"
    return text[:opening] + member + separator + text[opening:]


def _skip_whitespace(text: str, position: int) -> int:
    while text[position] in SPACES:
        position += 1
    return position
