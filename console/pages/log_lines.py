"""Log lines as a page shows them: the time of day, the replica, the text with what was searched for marked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from deployments.events import short_id
from deployments.logs.search import Line, split_matches


@dataclass(frozen=True)
class ShownLine:
    """`parts` are the pieces of the text, each with whether it is a match; `at` is ISO 8601, empty for no time."""

    at: str
    time: str
    replica: str
    parts: list[tuple[str, bool]]


def shown(lines: Iterable[Line], sought: str, now: datetime) -> list[ShownLine]:
    return [
        ShownLine(
            line.at.astimezone(UTC).isoformat(timespec="milliseconds") if line.at else "",
            _time(line.at.astimezone(UTC), now) if line.at else "",
            short_id(line.replica_id),
            list(split_matches(line.text, sought)),
        )
        for line in lines
    ]


def _time(at: datetime, now: datetime) -> str:
    """14:01:21, and 12 Nov 14:01:21 for other days."""
    return f"{at:%H:%M:%S}" if at.date() == now.date() else f"{at.day} {at:%b %H:%M:%S}"
