"""Finds and edits members of a JSON object without changing any other byte, in time linear in its size. Pure.

Only members of the outermost object are considered. Objects are bytes of valid JSON; strings inside need not be valid
UTF-8. Nesting deeper than Python's recursion limit raises RecursionError.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import msgspec

Span = tuple[int, int]

NOT_SPACE = re.compile(r"[^ \t\r\n]")
FLAT_VALUE = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*(\{[^{}\\]*\}|null|true|false|-?[0-9][0-9.eE+-]*)[ \t\r\n]*[,}]")
_decode = json.JSONDecoder(strict=False).raw_decode


class Member(NamedTuple):
    """The position of a member: offsets of its name, of its value, and of the byte after its value."""

    name: str
    start: int
    value: int
    end: int


def iterate_members(data: bytes) -> Iterator[Member]:
    """Yield the members of the object `data`. Names that are not ASCII are not decoded properly."""
    text = data.decode("latin-1")  # offsets in the text are offsets in the bytes
    position = _skip_spaces(text, text.index("{") + 1)
    while text[position] != "}":
        start = position
        name, position = _decode(text, position)
        value = _skip_spaces(text, _skip_spaces(text, position) + 1)
        _, end = _decode(text, value)
        yield Member(name, start, value, end)
        position = _skip_spaces(text, end)
        position = _skip_spaces(text, position + 1) if text[position] == "," else position


def find_values(data: bytes, names: Collection[str]) -> dict[str, list[Span]]:
    """Find the values of all members called one of `names`, which must be members: their offsets by name, in order.

    A single member with a flat value, as clients send it, is found without walking through the object.
    """
    if len(names) == 1 and (span := _find_flat_value(data, *names)):
        return {name: [span] for name in names}
    spans: dict[str, list[Span]] = {}
    for member in iterate_members(data):
        if member.name in names:
            spans.setdefault(member.name, []).append((member.value, member.end))
    return spans


def remove_members(data: bytes, name: str) -> bytes:
    """Remove all members called `name`, each with the comma that separated it."""
    parts: list[bytes] = []
    copied, first, previous_end, has_kept = 0, -1, 0, False
    for member in iterate_members(data):
        if first < 0:
            first = member.start
        if member.name == name:
            if has_kept:  # the comma before it goes too
                parts.append(data[copied:previous_end])
                copied = member.end
        elif not has_kept:  # what was removed before goes, up to this member
            has_kept = True
            parts.append(data[:first])
            copied = member.start
        previous_end = member.end
    if not has_kept:
        return data[:first] + data[previous_end:] if first >= 0 else data
    return b"".join([*parts, data[copied:]])


def set_members(data: bytes, values: Mapping[str, bytes], spans: Mapping[str, Collection[Span]]) -> bytes:
    """Give members of an object that is not empty these encoded values.

    `spans` are the present values of those members, as `find_values` returns them; a member without is inserted as the
    first one.
    """
    inserted = b"".join([b'"%b":%b,' % (name.encode(), value) for name, value in values.items() if name not in spans])
    edits = sorted([(span, values[name]) for name, places in spans.items() if name in values for span in places])
    opening = data.index(b"{") + 1
    parts, copied = [data[:opening], inserted], opening
    for (start, end), value in edits:
        parts += [data[copied:start], value]
        copied = end
    return b"".join([*parts, data[copied:]])


def _find_flat_value(data: bytes, name: str) -> Span | None:
    """Find the value of the only member called `name` if it is a number, a literal or a flat object.

    The first text `"name":` is a member of some object. The outermost object has a member with that name; if it has
    none once that text is hidden, that text is it.
    """
    token = b'"%b"' % name.encode()
    start = data.find(token)
    match = FLAT_VALUE.match(data, start + len(token)) if start >= 0 else None
    if match is None:
        return None
    hidden = b"".join([data[: start + 1], b"-" * len(name), data[start + len(token) - 1 :]])
    try:
        has_others = getattr(_create_probe(name).decode(hidden), name) is not msgspec.UNSET
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return None if has_others else match.span(1)


@cache
def _create_probe(name: str) -> msgspec.json.Decoder[Any]:
    """Create a decoder that reads this member and skips everything else."""
    return msgspec.json.Decoder(msgspec.defstruct("Probe", [(name, Any, msgspec.UNSET)]))


def _skip_spaces(text: str, position: int) -> int:
    match = NOT_SPACE.search(text, position)
    return match.start() if match else len(text)
