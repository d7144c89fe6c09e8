"""What is kept of a log: how its last lines, with their times, are held in one text; how a line is cleaned. Pure.

A kept log has one line per line: its time in ISO 8601 (or `-` where the cluster knew none), a space, its text.
Engines write whatever they like; what is shown, searched and handed out went through `clean`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from deployments.drivers.base import LogLine

LONGEST_KEPT, LONGEST_SHOWN = 16 * 1024, 4000
UNKNOWN = "-"
ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]P^_X][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]"  # colours, titles, cursor moves
    r"|[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"  # controls, breaks, text direction
)


def pack(lines: Sequence[LogLine], most_bytes: int) -> str:
    """The last of `lines` that fit into `most_bytes`, as PostgreSQL can hold them."""
    kept: list[str] = []
    size = 0
    for line in reversed(lines):
        text = line.text[:LONGEST_KEPT].replace("\n", " ").replace("\x00", "\ufffd")
        packed = f"{line.at.isoformat() if line.at else UNKNOWN} {text}"
        packed = packed.encode(errors="replace").decode()
        size += len(packed.encode()) + 1
        if size > most_bytes:
            break
        kept.append(packed)
    return "\n".join(reversed(kept))


def unpack(kept: str) -> list[LogLine]:
    return [_line(one) for one in kept.split("\n")] if kept else []


def plain(kept: str) -> str:
    """The text without the times: evidence of how it ended."""
    return "\n".join(line.text for line in unpack(kept))


def _line(packed: str) -> LogLine:
    stamp, _, text = packed.partition(" ")
    if stamp == UNKNOWN:
        return LogLine(None, text)
    try:
        at = datetime.fromisoformat(stamp)
    except ValueError:
        return LogLine(None, packed)
    return LogLine(at, text) if at.tzinfo else LogLine(None, packed)


def clean(text: str) -> str:
    """Without terminal escapes, control characters and line breaks, cut to a length that a page can bear."""
    if not text.isprintable():
        text = ESCAPES.sub("", text.rstrip("\r\n").rsplit("\r", 1)[-1])  # a progress bar shows what it wrote last
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def holding(text: str) -> re.Pattern[str]:
    """Finds `text` as it is, whatever its case: no character in it has a meaning of its own."""
    return re.compile(re.escape(text), re.IGNORECASE)


def parts(text: str, sought: str) -> Iterable[tuple[str, bool]]:
    """`text` in pieces, each with whether it is a match of `sought`."""
    end = 0
    for match in holding(sought).finditer(text) if sought else ():
        if match.start() > end:
            yield text[end : match.start()], False
        yield match[0], True
        end = match.end()
    if end < len(text) or not text:
        yield text[end:], False
