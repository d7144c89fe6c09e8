"""Changes of a configuration as people read them: what, from, to, and whether it restarts anything. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from deployments.diffs import needs_restart

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
class ChangeLine:
    """One line of a diff; `before` and `after` are words, an en dash where there was or is nothing."""

    title: str
    before: str
    after: str
    restarts: bool


def lines(changes: Iterable[Mapping[str, Any]]) -> tuple[ChangeLine, ...]:
    """`changes` as an event stores them: `field`, `before`, `after`."""
    return tuple(
        ChangeLine(title(one["field"]), shown(one["field"], one["before"]), shown(one["field"], one["after"]),
                   needs_restart(one["field"]))
        for one in changes
        if not _says_nothing(one)
    )  # fmt: skip


def _says_nothing(change: Mapping[str, Any]) -> bool:
    """An adapter that comes or goes without a revision has no line for that."""
    return change["field"].startswith("adapters.") and not (change["before"] or change["after"])


def title(field: str) -> str:
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


def shown(field: str, value: Any) -> str:
    """A value with its unit: 8,192 tokens, 300 s, on."""
    last = field.rpartition(".")[2]
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "on" if value else "off"
    if not isinstance(value, int | float):
        return str(value).replace("_", " ") if last == "fail" else str(value)
    return f"{value:,g}{_unit(last)}" if isinstance(value, float) else f"{value:,}{_unit(last)}"


def _unit(last: str) -> str:
    if last.endswith("_seconds"):
        return " s"
    return " ms" if last.endswith("_ms") else UNITS.get(last, "")
