"""Which log lines match a query, and how their text is cleaned for display. Pure.

Engines write arbitrary bytes. Text is cleaned before it is searched, shown or returned.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from deployments.drivers.base import LogLine

DEFAULT_TAIL, MAX_LINES = 500, 5000
MAX_CHARACTERS = 4000
ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]P^_X][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]"  # colours, titles, cursor moves
    r"|[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"  # controls, breaks, text direction
)


class LinePosition(NamedTuple):
    """The order of a line among all lines of a deployment. `number` counts the lines of a replica with equal times."""

    at: datetime
    replica_id: UUID
    number: int


@dataclass(frozen=True)
class Line:
    """A matching line, cleaned. `at` is None when the cluster knows no time."""

    position: LinePosition
    at: datetime | None
    text: str

    @property
    def replica_id(self) -> UUID:
        return self.position.replica_id


@dataclass(frozen=True)
class LogQuery:
    """The last `tail` lines within [since, until) that contain `text` (case-insensitive, literal) and precede
    `before`."""

    tail: int = DEFAULT_TAIL
    since: datetime | None = None
    until: datetime | None = None
    text: str = ""
    before: LinePosition | None = None

    @property
    def needs_only_tail(self) -> bool:
        """Whether the end of a log is enough to answer the query."""
        return self.until is None and self.before is None and not self.text

    def matches(self, lines: Iterable[tuple[LinePosition, LogLine]]) -> Iterator[Line]:
        """All matching lines, regardless of `tail`."""
        pattern = _pattern(self.text)
        for position, line in lines:
            is_late_enough = self.since is None or position.at >= self.since
            is_early_enough = self.until is None or position.at < self.until
            if is_late_enough and is_early_enough and (self.before is None or position < self.before):
                text = clean(line.text)
                if pattern.search(text):
                    yield Line(position, line.at, text)


def clean(text: str) -> str:
    """Remove terminal escapes, control characters and line breaks, and truncate to MAX_CHARACTERS."""
    if not text.isprintable():
        text = ESCAPES.sub("", text.rstrip("\r\n").rsplit("\r", 1)[-1])  # of a progress bar, the last state
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"


def split_matches(text: str, query: str) -> Iterable[tuple[str, bool]]:
    """`text` in pieces, each with whether it matches `query`."""
    end = 0
    for match in _pattern(query).finditer(text) if query else ():
        if match.start() > end:
            yield text[end : match.start()], False
        yield match[0], True
        end = match.end()
    if end < len(text) or not text:
        yield text[end:], False


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(re.escape(text), re.IGNORECASE)
