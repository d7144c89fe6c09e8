"""Differences between configurations as lines: title, value before and after, and whether replicas restart. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from deployments.config.deployment_spec import RevisionSpec
from deployments.config.diff import diff, needs_restart
from deployments.config.settings_index import SETTINGS
from deployments.schema.adapter import Adapter

UNITS = {"seconds": "s"}
ADAPTER_PARTS = {name: "" if name == "repository" else f", {name}" for name in Adapter.model_fields}


@dataclass(frozen=True)
class DiffLine:
    """One difference; `before` and `after` are an en dash where there was or is nothing."""

    title: str
    before: str
    after: str
    restarts: bool


def make_diff_lines(changes: Iterable[Mapping[str, Any]]) -> tuple[DiffLine, ...]:
    """`changes` as an event stores them: `field`, `before`, `after`. An adapter that comes or goes without a revision
    has no line for its revision."""
    return tuple(
        DiffLine(
            format_title(change["field"]),
            format_value(change["field"], change["before"]),
            format_value(change["field"], change["after"]),
            needs_restart(change["field"]),
        )
        for change in changes
        if change["before"] or change["after"] or not change["field"].startswith("adapters.")
    )


def diff_bodies(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[DiffLine, ...]:
    """The differences between two canonical bodies."""
    return make_diff_lines(vars(change) for change in diff(before, after))


def diff_revisions(before: Mapping[str, Any], after: Mapping[str, Any], gpu_type: str) -> tuple[DiffLine, ...]:
    """The differences between the stored configurations of two revisions."""
    old, new = (RevisionSpec.from_json(stored).configuration_json(gpu_type) for stored in (before, after))
    return diff_bodies(old, new)


def format_title(field: str) -> str:
    """`engine.max_concurrency` is Max concurrency; `adapters.sql.repository` is Adapter sql. A setting of an earlier
    release is named after its field."""
    if field in SETTINGS:
        return SETTINGS[field].setting.title
    head, _, rest = field.partition(".")
    if head == "labels":
        return f"Label {rest}"
    if head == "adapters":
        name, _, part = rest.rpartition(".")
        return f"Adapter {name}{ADAPTER_PARTS.get(part, '')}"
    return field.rpartition(".")[2].replace("_", " ").capitalize()


def format_value(field: str, value: Any) -> str:
    """A value with its unit: 8,192 tokens, 300 s, on."""
    setting = SETTINGS[field].setting if field in SETTINGS else None
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "on" if value else "off"
    if not isinstance(value, int | float):
        return setting.choice_titles.get(value, str(value)) if setting else str(value)
    number = f"{value:,g}" if isinstance(value, float) else f"{value:,}"
    return f"{number} {UNITS.get(setting.unit, setting.unit)}" if setting and setting.unit else number
