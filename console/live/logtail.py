"""The end of a replica's log, cleaned for people. Engines write whatever they like: it is text, never markup."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC

from console.live.threads import Threads
from deployments.drivers.base import DriverError, LogLine
from deployments.logs import log_lines
from deployments.models import Replica

LINES = 500
LONGEST = 4000
THREADS = Threads("logs", 4)
ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]"  # colours, titles, cursor moves
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)


@dataclass(frozen=True)
class Tail:
    """The last lines, oldest first; `trouble` says in words why they cannot be read now."""

    lines: list[LogLine] = field(default_factory=list)
    trouble: str = ""


def read(replica: Replica) -> Tail:
    try:
        lines = [LogLine(line.at, stamped(line)) for line in log_lines(replica, tail=LINES)]
    except DriverError as error:
        return Tail(trouble=f"The log cannot be read now: {error} It is tried again every second.")
    return Tail(lines)


def stamped(line: LogLine) -> str:
    """The text with its time of day in front (UTC), where the cluster knows it."""
    text = clean(line.text)
    return f"{line.at.astimezone(UTC):%H:%M:%S}  {text}" if line.at else text


def clean(text: str) -> str:
    """Without terminal escapes and control characters, cut to a length that a page can bear."""
    text = ESCAPES.sub("", text.rstrip("\r\n").rsplit("\r", 1)[-1])  # a progress bar shows what it wrote last
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def added(before: Sequence[LogLine], after: Sequence[LogLine]) -> list[LogLine]:
    """The lines of `after` that are not the end of `before`: what was written between two looks at the end of a log."""
    for length in range(min(len(before), len(after)), 0, -1):
        if before[-length:] == after[:length]:
            return list(after[length:])
    return list(after)
