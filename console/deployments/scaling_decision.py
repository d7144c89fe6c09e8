"""Shows a scaling decision: the numbers that the autoscaler stored in the event, as lines of a sum. Pure.

Nothing is computed here again. Numbers that the event lacks are left out; numbers that are not known here are shown
under their own name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from console.components.formats import format_count, format_elapsed

Inputs = Mapping[str, Any]


@dataclass(frozen=True)
class Term:
    """One line: what it is, how it was computed, the number with its unit."""

    name: str
    how: str
    value: str
    is_total: bool = False


def explain_decision(facts: Mapping[str, Any]) -> tuple[Term, ...]:
    """The lines of a SCALED event: the facts of its `reason`, and the decision last. Empty when it holds no load."""
    inputs: Inputs = (facts.get("reason") or {}).get("facts") or {}
    if "load" not in inputs:
        return ()
    known = [Term(name, how(inputs), value(inputs)) for key, name, how, value in LINES if inputs.get(key) is not None]
    return (*known, *_others(inputs), _decision(facts, inputs))


def _plain(key: str) -> Callable[[Inputs], str]:
    return lambda inputs: format_number(inputs[key])


def _waiting(inputs: Inputs) -> str:
    oldest = inputs.get("oldest_waiting_seconds") or 0
    return f"the oldest for {format_number(oldest)} s" if inputs["waiting"] else "none"


def _mean(inputs: Inputs) -> str:
    window, covered = inputs.get("mean_seconds"), inputs.get("data_seconds")
    if window is None or covered is None:
        return ""
    if covered >= window:
        return f"over {format_number(window)} s"
    return f"over {format_number(covered)} s, all data so far"


def _target(inputs: Inputs) -> str:
    most, percent = inputs.get("max_concurrency"), inputs.get("target_percent")
    return f"{format_number(most)} max concurrency × {format_number(percent)} %" if most and percent else ""


def _needed(inputs: Inputs) -> str:
    basis, counted, target = (inputs.get(key) for key in ("needed_by", "counted_load", "load_per_replica"))
    if basis == "backlog":
        return "one more than is ready, as requests are waiting"
    division = f"{format_number(counted)} ÷ {format_number(target)}, rounded up"
    if basis == "range":
        return f"{division}, kept within the range"
    if basis == "load":
        return f"{division}: the present load, as requests are waiting" if inputs.get("is_backlog") else division
    return ""


def _delay(inputs: Inputs) -> str:
    delay = inputs.get("scale_down_delay_seconds")
    return "the most within the scale-down delay" + (f" of {format_elapsed(delay)}" if delay is not None else "")


def _before(inputs: Inputs) -> str:
    return f"{format_number(inputs.get('ready') or 0)} ready, {format_number(inputs.get('starting') or 0)} starting"


def _range(inputs: Inputs) -> str:
    return f"{format_number(inputs['min_replicas'])}–{format_number(inputs.get('max_replicas') or 0)}"


def _constant(text: str) -> Callable[[Inputs], str]:
    return lambda inputs: text


LINES: tuple[tuple[str, str, Callable[[Inputs], str], Callable[[Inputs], str]], ...] = (
    ("load", "Load", _constant("requests in flight and waiting"), _plain("load")),
    ("waiting", "Waiting", _waiting, _plain("waiting")),
    ("mean_load", "Mean load", _mean, _plain("mean_load")),
    ("load_per_replica", "Target per replica", _target, _plain("load_per_replica")),
    ("needed", "Needed now", _needed, _plain("needed")),
    ("most_needed", "Needed lately", _delay, _plain("most_needed")),
    ("wanted_before", "Wanted before", _before, _plain("wanted_before")),
    ("min_replicas", "Range", _constant("replicas that the deployment allows"), _range),
)
KNOWN_INPUTS = frozenset(
    {key for key, *_ in LINES}
    | {"oldest_waiting_seconds", "max_concurrency", "ready", "starting", "max_replicas", "scale_down_delay_seconds"}
    | {"data_seconds", "mean_seconds", "target_percent", "counted_load", "needed_by", "is_backlog", "is_limited"}
    | {"lowest", "queue_wait_seconds", "epoch"}
)


def _others(inputs: Inputs) -> Iterator[Term]:
    for key, value in inputs.items():
        if key not in KNOWN_INPUTS and value is not None:
            unit = " s" if key.endswith("_seconds") else ""
            name = key.removesuffix("_seconds").replace("_", " ").capitalize()
            yield Term(name, "", f"{format_number(value)}{unit}")


def _decision(facts: Mapping[str, Any], inputs: Inputs) -> Term:
    before, after = facts["from"], facts["to"]
    step = "up at once" if after > before else "down"
    if inputs.get("is_limited"):
        step += ", one step at most doubles" if after > before else ", one step at most halves"
    return Term("Decided", step, format_count(after, "replica"), is_total=True)


def format_number(value: object) -> str:
    """28.6, 3, 1,200; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.1f}".removesuffix(".0")
