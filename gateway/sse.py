"""Server-sent events as bytes: splits a stream into events, reads their usage, strips unrequested usage. Pure.

Events are forwarded byte for byte, comments and line endings included; only usage that the engine added because of the
gateway's own `stream_options` is removed.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import msgspec

from gateway import json_edit

DONE_EVENT = b"data: [DONE]\n\n"

# Two line endings in a row. The groups are atomic, so that `\r\n` is one line ending, never two. A `\r` at the end of
# the received bytes may be the first half of `\r\n`, so the second line ending requires the character after it.
EVENT_END = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\n|\r(?=[^\n]))")
LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n|$)")
BLANK_LINE = re.compile(rb"(?:\r\n|\r|\n)$")
DONE = b"[DONE]"
MAX_EVENT_BYTES = 1024 * 1024
_decode = msgspec.json.Decoder().decode


class EventTooLong(Exception):
    """An event is longer than the limit of the splitter."""


def format_comment(text: str) -> bytes:
    """Format a comment, which clients ignore and which keeps the connection open."""
    return f": {text}\n\n".encode()


class EventSplitter:
    """Splits a byte stream into events. Every byte belongs to exactly one event; `limit` is the maximum size of one."""

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._limit = limit

    @property
    def has_remainder(self) -> bool:
        """Whether an event has begun that is not complete."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the events that `data` completes. Raises EventTooLong."""
        self._buffer += data
        events, start = [], 0
        for match in EVENT_END.finditer(self._buffer, self._searched):
            events.append(bytes(self._buffer[start : match.end()]))
            start = match.end()
        self._buffer = self._buffer[start:] if start else self._buffer
        self._searched = max(len(self._buffer) - 3, 0)
        if len(self._buffer) > self._limit:
            raise EventTooLong
        return events

    def take_remainder(self) -> bytes:
        """Return and clear the bytes after the last event, for the end of the stream."""
        remainder, self._buffer, self._searched = bytes(self._buffer), bytearray(), 0
        return remainder


def extract_data(event: bytes) -> bytes | None:
    """Return the data of an event, its lines joined by newlines; None if it has none, as in a comment."""
    lines = [_get_value(line) for line in _split_lines(event) if line.startswith(b"data:") or line.strip() == b"data"]
    return b"\n".join(lines) if lines else None


def _split_lines(event: bytes) -> list[bytes]:
    return [line for line in LINE.findall(event) if line]


def _get_value(line: bytes) -> bytes:
    value = line.rstrip(b"\r\n")[5:]
    return value[1:] if value.startswith(b" ") else value


class StreamOptions(NamedTuple):
    """The `stream_options` of the client."""

    include_usage: bool = False
    continuous_usage_stats: bool = False


class ParsedEvent(NamedTuple):
    """An event of an engine's stream.

    `client_bytes` is forwarded to the client and may be empty. `usage` is the usage object of the chunk.
    `output_chunks` is the number of choices with output, which replaces output tokens where there is no usage.
    `is_done` marks the end of the stream.
    """

    client_bytes: bytes
    usage: dict[str, Any] | None = None
    output_chunks: int = 0
    is_done: bool = False
    is_error: bool = False


def parse_event(event: bytes, options: StreamOptions) -> ParsedEvent:
    """Parse an event of an engine that reports cumulative usage in every chunk, for a client with `options`."""
    data = extract_data(event)
    if data is None:
        return ParsedEvent(event)
    if data.startswith(DONE):
        return ParsedEvent(event, is_done=True)
    try:
        chunk = _parse_json(data)
    except (ValueError, RecursionError):
        return ParsedEvent(event)
    if not isinstance(chunk, dict):
        return ParsedEvent(event)
    usage, choices = chunk.get("usage"), chunk.get("choices")
    output_chunks = sum(map(_has_output, choices)) if isinstance(choices, list) else 0
    return ParsedEvent(
        _strip_usage(event, data, chunk, options),
        usage if isinstance(usage, dict) else None,
        output_chunks,
        is_error=bool(chunk.get("error")),
    )


def _parse_json(data: bytes) -> Any:
    """Parse JSON whose strings may contain invalid UTF-8. Raises ValueError or RecursionError."""
    try:
        return _decode(data)
    except (msgspec.MsgspecError, ValueError):
        return json.loads(data.decode("utf-8", "surrogateescape"))


def _strip_usage(event: bytes, data: bytes, chunk: dict[str, Any], options: StreamOptions) -> bytes:
    """Remove usage that the client did not request, as docs/gateway.md tabulates."""
    if "usage" not in chunk:
        return event
    if chunk.get("choices") == [] and chunk["usage"]:
        return event if options.include_usage else _keep_comments(event)
    if options.include_usage and (options.continuous_usage_stats or chunk["usage"] is None):
        return event
    if not options.include_usage:
        return _replace_data(event, json_edit.remove_members(data, "usage"))
    nulls = json_edit.set_members(data, {"usage": b"null"}, json_edit.find_values(data, ["usage"]))
    return _replace_data(event, nulls)


def _keep_comments(event: bytes) -> bytes:
    """Return the comment lines of an event whose data is dropped; empty without comments."""
    comments = [line for line in _split_lines(event) if line.startswith(b":")]
    ending = BLANK_LINE.search(event)
    return b"".join([*comments, ending.group() if ending else b""]) if comments else b""


def _replace_data(event: bytes, data: bytes) -> bytes:
    """Replace the data of an event, with the position, prefix and line ending of its first data line."""
    parts: list[bytes] = []
    for line in _split_lines(event):
        if not line.startswith(b"data:"):
            parts.append(line)
        elif data:
            prefix = b"data: " if line.startswith(b"data: ") else b"data:"
            ending = line[len(line.rstrip(b"\r\n")) :]
            parts += [prefix + data_line + ending for data_line in data.split(b"\n")]
            data = b""
    return b"".join(parts)


def _has_output(choice: Any) -> bool:
    """Whether a choice of a chunk contains generated text, reasoning or a tool call."""
    if not isinstance(choice, dict):
        return False
    delta = choice.get("delta")
    output = delta if isinstance(delta, dict) else choice
    return any(output.get(name) for name in ("content", "text", "reasoning_content", "reasoning", "tool_calls"))
