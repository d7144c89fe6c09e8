"""What differs between two configurations, setting by setting. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deployments.config.settings_index import find


@dataclass(frozen=True)
class Change:
    """`field` is the path in the API, an adapter's with its name (`adapters.sql.repository`). `before` and `after` are
    plain JSON values, None where there is no such field."""

    field: str
    before: Any
    after: Any


def diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """From one canonical body to another, in the order of its fields; empty when they mean the same."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    return tuple(
        Change(field, old.get(field), new.get(field)) for field in {**old, **new} if old.get(field) != new.get(field)
    )


def needs_restart(field: str) -> bool:
    """Whether a change there makes a new revision; everything else takes effect at once and restarts nothing."""
    declared = find(field)
    return declared is not None and declared.restarts


def sentence(changes: Iterable[Change]) -> str:
    """ "engine.context_length 8192 → 4096, autoscaling.max_replicas 3 → 5"."""
    return ", ".join(f"{change.field} {_text(change.before)} → {_text(change.after)}" for change in changes)


def _text(value: Any) -> str:
    match value:
        case None | "":
            return "—"
        case bool():
            return "on" if value else "off"
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def _leaves(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, below in value.items():
        if isinstance(below, list):
            below = {entry["name"]: {**entry, "name": None} for entry in below}
        if isinstance(below, Mapping):
            yield from _leaves(below, f"{path}{name}.")
        elif below is not None:
            yield f"{path}{name}", below
