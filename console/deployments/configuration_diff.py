"""Differences between configurations as lines: title, value before and after, and whether replicas restart. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from deployments import bodies, diffs
from deployments.diffs import needs_restart
from deployments.specs import RevisionSpec

TITLES = {
    "name": "Name",
    "description": "Description",
    "endpoint": "Endpoint",
    "model.source": "Model source",
    "model.id": "Model",
    "engine.name": "Engine",
    "engine.context_length": "Context length",
    "engine.max_concurrency": "Max concurrency",
    "engine.prefix_caching": "Prefix caching",
    "engine.simulator.download_seconds": "Simulated download",
    "engine.simulator.initialize_seconds": "Simulated initializing",
    "engine.simulator.ttft_ms": "Simulated TTFT",
    "engine.simulator.itl_ms": "Simulated ITL",
    "engine.simulator.fail": "Simulated fault",
    "gpu.type": "GPU type",
    "gpu.count": "GPUs per replica",
    "autoscaling.enabled": "Autoscaling",
    "autoscaling.replicas": "Replicas",
    "autoscaling.min_replicas": "Min replicas",
    "autoscaling.max_replicas": "Max replicas",
    "autoscaling.scale_down_delay_seconds": "Scale-down delay",
    "autoscaling.sleep_after_seconds": "Sleeps after",
}
UNITS = {"context_length": " tokens"}
ADAPTER_PARTS = {"repository": "", "revision": ", revision"}


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
    return make_diff_lines(vars(change) for change in diffs.changes(before, after))


def diff_revisions(before: Mapping[str, Any], after: Mapping[str, Any], gpu_type: str) -> tuple[DiffLine, ...]:
    """The differences between the stored configurations of two revisions."""
    old, new = (bodies.configuration_of(RevisionSpec.from_json(spec), gpu_type) for spec in (before, after))
    return diff_bodies(old, new)


def format_title(field: str) -> str:
    """`engine.max_concurrency` is Max concurrency; `adapters.sql.repository` is Adapter sql."""
    if field in TITLES:
        return TITLES[field]
    head, _, rest = field.partition(".")
    if head == "labels":
        return f"Label {rest}"
    if head == "adapters":
        name, _, part = rest.rpartition(".")
        return f"Adapter {name}{ADAPTER_PARTS.get(part, '')}"
    return field.rpartition(".")[2].replace("_", " ").capitalize()


def format_value(field: str, value: Any) -> str:
    """A value with its unit: 8,192 tokens, 300 s, on."""
    last = field.rpartition(".")[2]
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "on" if value else "off"
    if not isinstance(value, int | float):
        return str(value).replace("_", " ") if last == "fail" else str(value)
    unit = " s" if last.endswith("_seconds") else " ms" if last.endswith("_ms") else UNITS.get(last, "")
    return f"{value:,g}{unit}" if isinstance(value, float) else f"{value:,}{unit}"
