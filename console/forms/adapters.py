"""Adapters as rows of a form: what was typed, row by row. A row left empty is no adapter. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

MOST_ROWS = 32
_FIELD = re.compile(r"adapter-(\d{1,3})-\w+")


@dataclass(frozen=True)
class AdapterRow:
    repository: str = ""
    name: str = ""
    revision: str = ""

    @property
    def is_empty(self) -> bool:
        return not (self.repository or self.name or self.revision)

    @property
    def body(self) -> dict[str, str]:
        """What was left empty is left out, so that its default holds."""
        return {part: value for part, value in vars(self).items() if value}


PARTS = tuple(part.name for part in fields(AdapterRow))
TITLES = {"repository": "repository", "name": "name", "revision": "revision"}


def typed_rows(data: Mapping[str, str]) -> list[AdapterRow]:
    """The rows with something in them, in their order, without the one that `remove_adapter` names;
    `adapter-<row>-<part>` are their fields."""
    places = sorted({int(match[1]) for name in data if (match := _FIELD.fullmatch(name))})
    places = [place for place in places if str(place) != data.get("remove_adapter")]
    rows = [
        AdapterRow(*(data.get(f"adapter-{place}-{part}", "").replace("\x00", "").strip() for part in PARTS))
        for place in places[: 2 * MOST_ROWS]
    ]
    return [row for row in rows if not row.is_empty]


def filled_rows(adapters: Sequence[Mapping[str, str]]) -> list[AdapterRow]:
    """Those of a canonical body."""
    return [AdapterRow(one["repository"], one["name"], one["revision"]) for one in adapters]


def title(field: str) -> str:
    """How people call a field of a row: `adapter-1-name` is the name of adapter 2."""
    _, place, part = field.split("-")
    return f"{TITLES[part]} of adapter {int(place) + 1}"
