"""Server-sent events as bytes: where one ends, what it carries, what the caller may see of it. Pure.

Nothing is re-encoded: an event is passed on as it came, comments and line ends included, unless our own usage option
put something into it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from gateway import splice

# Two line ends in a row. The groups are atomic: `\r\n` is one line end, never two. A `\r` at the end of what has
# arrived may be half of a `\r\n`, so the second line end waits for what follows it.
END = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\n|\r(?=[^\n]))")
LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n|$)")
BLANK_LINE = re.compile(rb"(?:\r\n|\r|\n)$")
DONE = b"[DONE]"


class EventTooLong(Exception):
    """An event grew beyond the limit without ending."""


class Splitter:
    """Cuts a byte stream into events; every byte belongs to exactly one."""

    def __init__(self, limit: int = 4 * 1024 * 1024) -> None:
        self._buffer = b""
        self._searched = 0
        self._limit = limit

    def feed(self, data: bytes) -> list[bytes]:
        """The events that `data` completes. Raises EventTooLong."""
        self._buffer += data
        events, start = [], 0
        while match := END.search(self._buffer, max(start, self._searched)):
            events.append(self._buffer[start : match.end()])
            start = match.end()
            self._searched = start
        self._buffer = self._buffer[start:]
        self._searched = max(len(self._buffer) - 3, 0)
        if len(self._buffer) > self._limit:
            raise EventTooLong
        return events

    def rest(self) -> bytes:
        """What is left when the stream has ended: an event only if it ends in a whole line."""
        rest, self._buffer, self._searched = self._buffer, b"", 0
        return rest


def data_of(event: bytes) -> bytes | None:
    """The data of an event, its lines joined by newlines; None when it has none (a comment)."""
    lines = [_value(line) for line in _lines(event) if line.startswith(b"data:") or line.strip() == b"data"]
    return b"\n".join(lines) if lines else None


def _lines(event: bytes) -> list[bytes]:
    return [line for line in LINE.findall(event) if line]


def _value(line: bytes) -> bytes:
    value = line.rstrip(b"\r\n")[5:]
    return value[1:] if value.startswith(b" ") else value


@dataclass(frozen=True)
class Wish:
    """What the caller asked of `stream_options`."""

    include_usage: bool = False
    continuous_usage_stats: bool = False


@dataclass(frozen=True)
class Reading:
    """One event, read: the bytes for the caller (empty: nothing), the usage it carried, how many tokens it holds if
    nothing better is known, and whether it ends the stream."""

    shown: bytes
    usage: dict[str, Any] | None = None
    pieces: int = 0
    is_done: bool = False
    is_error: bool = False


def read(event: bytes, wish: Wish) -> Reading:
    """Read one event of an engine that was asked for cumulative usage on every chunk."""
    data = data_of(event)
    if data is None:
        return Reading(event)
    if data.startswith(DONE):
        return Reading(event, is_done=True)
    chunk = _parsed(data)
    if chunk is None:
        return Reading(event)
    usage, choices = chunk.get("usage"), chunk.get("choices")
    found = usage if isinstance(usage, dict) else None
    pieces = sum(map(_has_output, choices)) if isinstance(choices, list) else 0
    shown = _shown(event, data, chunk, wish)
    return Reading(shown, found, pieces, is_error=bool(chunk.get("error")))


def _shown(event: bytes, data: bytes, chunk: dict[str, Any], wish: Wish) -> bytes:
    if "usage" not in chunk:
        return event
    if chunk.get("choices") == [] and chunk["usage"]:
        return event if wish.include_usage else _comments(event)
    if wish.include_usage and (wish.continuous_usage_stats or chunk["usage"] is None):
        return event
    text = splice.text_of(data)
    cleared = splice.clear(text, "usage") if wish.include_usage else splice.cut(text, "usage")
    return _with_data(event, splice.bytes_of(cleared))


def _comments(event: bytes) -> bytes:
    """What is left of an event without its data: comments that came in the same block."""
    comments = [line for line in _lines(event) if line.startswith(b":")]
    ending = BLANK_LINE.search(event)
    return b"".join([*comments, ending.group() if ending else b""]) if comments else b""


def _with_data(event: bytes, data: bytes) -> bytes:
    """`event` with other data, in the place and with the manner of its first data line."""
    lines, parts = _lines(event), []
    for line in lines:
        if not line.startswith(b"data:"):
            parts.append(line)
        elif data:
            prefix = b"data: " if line.startswith(b"data: ") else b"data:"
            ending = line[len(line.rstrip(b"\r\n")) :]
            parts += [prefix + one + ending for one in data.split(b"\n")]
            data = b""
    return b"".join(parts)


def _parsed(data: bytes) -> dict[str, Any] | None:
    try:
        chunk = json.loads(splice.text_of(data))
    except (ValueError, RecursionError):
        return None
    return chunk if isinstance(chunk, dict) else None


def _has_output(choice: Any) -> bool:
    """Whether a choice of a chunk carries generated text, reasoning or a tool call."""
    if not isinstance(choice, dict):
        return False
    delta = choice.get("delta")
    given = delta if isinstance(delta, dict) else choice
    return any(given.get(name) for name in ("content", "text", "reasoning_content", "reasoning", "tool_calls"))
