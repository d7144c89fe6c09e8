"""The text in which a replica's row stores the end of its log. Pure.

One line per log line: its time in ISO 8601 (`-` when the cluster knows none), a space, its text.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from deployments.drivers.base import LogLine

MAX_LINE_CHARACTERS = 16 * 1024
NO_TIME = "-"


def pack(lines: Sequence[LogLine], max_bytes: int) -> str:
    """The last of `lines` that fit into `max_bytes`, without characters that PostgreSQL rejects."""
    stored: list[str] = []
    size = 0
    for line in reversed(lines):
        text = line.text[:MAX_LINE_CHARACTERS].replace("\n", " ").replace("\x00", "\ufffd")
        packed = f"{line.at.isoformat() if line.at else NO_TIME} {text}"
        packed = packed.encode(errors="replace").decode()
        size += len(packed.encode()) + 1
        if size > max_bytes:
            break
        stored.append(packed)
    return "\n".join(reversed(stored))


def unpack(stored: str) -> list[LogLine]:
    return [_parse_line(packed) for packed in stored.split("\n")] if stored else []


def plain_text(stored: str) -> str:
    """The text without the times."""
    return "\n".join(line.text for line in unpack(stored))


def _parse_line(packed: str) -> LogLine:
    stamp, _, text = packed.partition(" ")
    if stamp == NO_TIME:
        return LogLine(None, text)
    try:
        at = datetime.fromisoformat(stamp)
    except ValueError:
        return LogLine(None, packed)
    return LogLine(at, text) if at.tzinfo else LogLine(None, packed)
