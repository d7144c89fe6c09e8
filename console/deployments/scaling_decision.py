"""Explains a scaling decision: the numbers that the autoscaler stored in the event, as lines of a sum. Pure.

Numbers that the event lacks are left out; numbers that are not known here are shown under their own name.
"""

from __future__ import annotations

import math
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


def explain_decision(data: Mapping[str, Any]) -> tuple[Term, ...]:
    """The lines of a SCALED event: its `inputs`, and the decision last. Empty when the event holds no inputs."""
    inputs: Inputs = data.get("inputs") or {}
    if not inputs:
        return ()
    known = [Term(name, how(inputs), value(inputs)) for key, name, how, value in LINES if inputs.get(key) is not None]
    return (*known, *_others(inputs), _decision(data))


def _plain(key: str) -> Callable[[Inputs], str]:
    return lambda inputs: format_number(inputs[key])


def _waiting(inputs: Inputs) -> str:
    oldest = inputs.get("oldest_waiting_seconds") or 0
    return f"the oldest for {format_number(oldest)} s" if inputs["waiting"] else "none"


def _mean(inputs: Inputs) -> str:
    seconds = inputs.get("data_seconds")
    return (
        "over the last minute"
        if seconds is None or seconds >= 60
        else f"over {format_number(seconds)} s, all data so far"
    )


def _target(inputs: Inputs) -> str:
    if not (most := inputs.get("max_concurrency")):
        return ""
    return f"{format_number(most)} max concurrency × {format_number(100 * inputs['load_per_replica'] / most)} %"


def _needed(inputs: Inputs) -> str:
    """The division that gives the number: of the mean load, else of the present load while requests wait too long."""
    target, needed = inputs.get("load_per_replica"), inputs["needed"]
    for key, words in (("mean_load", ""), ("load", ", as requests are waiting")):
        load = inputs.get(key)
        if target and load is not None and math.ceil(round(load / target, 6)) == needed:
            return f"{format_number(load)} ÷ {format_number(target)}, rounded up{words}"
    return "load ÷ target, kept within the range"


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
    | {"data_seconds", "epoch"}
)


def _others(inputs: Inputs) -> Iterator[Term]:
    for key, value in inputs.items():
        if key not in KNOWN_INPUTS and value is not None:
            unit = " s" if key.endswith("_seconds") else ""
            name = key.removesuffix("_seconds").replace("_", " ").capitalize()
            yield Term(name, "", f"{format_number(value)}{unit}")


def _decision(data: Mapping[str, Any]) -> Term:
    before, after = data.get("from"), data.get("to")
    if not isinstance(before, int) or not isinstance(after, int):
        return Term("Decided", "", str(after), is_total=True)
    step = "up at once, at most doubled" if after > before else "down, at most halved"
    return Term("Decided", step, format_count(after, "replica"), is_total=True)


def format_number(value: object) -> str:
    """28.6, 3, 1,200; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.1f}".removesuffix(".0")
