"""What differs between two configurations, field by field. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_RESTARTING = ("model", "adapters", "engine", "gpu")


@dataclass(frozen=True)
class Change:
    """`field` is the path of rest.md §3, an adapter's with its name (`adapters.sql.repository`). `before` and
    `after` are plain JSON values, None where there is no such field."""

    field: str
    before: Any
    after: Any


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """From one canonical body to another, in the order of its fields; empty when they mean the same."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    return tuple(
        Change(field, old.get(field), new.get(field)) for field in {**old, **new} if old.get(field) != new.get(field)
    )


def needs_restart(field: str) -> bool:
    """Whether a change there makes a new revision; everything else acts at once and restarts nothing."""
    return field.partition(".")[0] in _RESTARTING


def sentence(found: Iterable[Change]) -> str:
    """ "engine.context_length 8192 → 4096, autoscaling.max_replicas 3 → 5"."""
    return ", ".join(f"{one.field} {shown(one.before)} → {shown(one.after)}" for one in found)


def shown(value: Any) -> str:
    """A value as people read it."""
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
            below = {one["name"]: {**one, "name": None} for one in below}
        if isinstance(below, Mapping):
            yield from _leaves(below, f"{path}{name}.")
        elif below is not None:
            yield f"{path}{name}", below
