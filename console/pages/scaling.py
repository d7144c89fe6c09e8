"""Why it scaled: the numbers that the autoscaler looked at, as a sum that people can follow. Pure.

What an event's `inputs` lack is left out; a number that is not known here is shown under its own name.
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
    """One line: what it is, how it came about, the number with its unit."""

    name: str
    how: str
    value: str
    is_total: bool = False


def terms(data: Mapping[str, Any]) -> tuple[Term, ...]:
    """The lines of a SCALED event: its `inputs`, and the decision last. Empty when the event holds no inputs."""
    inputs: Inputs = data.get("inputs") or {}
    if not inputs:
        return ()
    told = [Term(name, how(inputs), shown(inputs)) for key, name, how, shown in LINES if inputs.get(key) is not None]
    return (*told, *_others(inputs), _decision(data))


def _plain(key: str) -> Callable[[Inputs], str]:
    return lambda inputs: number(inputs[key])


def _waiting(inputs: Inputs) -> str:
    oldest = inputs.get("oldest_waiting_seconds") or 0
    return f"the oldest for {number(oldest)} s" if inputs["waiting"] else "nobody"


def _mean(inputs: Inputs) -> str:
    seconds = inputs.get("data_seconds")
    return "over the last minute" if seconds is None or seconds >= 60 else f"over {number(seconds)} s, all there is"


def _target(inputs: Inputs) -> str:
    if not (most := inputs.get("max_concurrency")):
        return ""
    return f"{number(most)} max concurrency × {number(100 * inputs['load_per_replica'] / most)} %"


def _needed(inputs: Inputs) -> str:
    """The division that gives the number: of the mean, else of this moment's load while somebody waits too long."""
    target, needed = inputs.get("load_per_replica"), inputs["needed"]
    for key, words in (("mean_load", ""), ("load", ", as somebody waits")):
        load = inputs.get(key)
        if target and load is not None and math.ceil(round(load / target, 6)) == needed:
            return f"{number(load)} ÷ {number(target)}, rounded up{words}"
    return "load ÷ target, kept within the range"


def _delay(inputs: Inputs) -> str:
    delay = inputs.get("scale_down_delay_seconds")
    return "the most within the scale-down delay" + (f" of {format_elapsed(delay)}" if delay is not None else "")


def _before(inputs: Inputs) -> str:
    return f"{number(inputs.get('ready') or 0)} ready, {number(inputs.get('starting') or 0)} starting"


def _range(inputs: Inputs) -> str:
    return f"{number(inputs['min_replicas'])}–{number(inputs.get('max_replicas') or 0)}"


def _says(words: str) -> Callable[[Inputs], str]:
    return lambda inputs: words


LINES: tuple[tuple[str, str, Callable[[Inputs], str], Callable[[Inputs], str]], ...] = (
    ("load", "Load", _says("requests in flight and waiting"), _plain("load")),
    ("waiting", "Waiting", _waiting, _plain("waiting")),
    ("mean_load", "Mean load", _mean, _plain("mean_load")),
    ("load_per_replica", "Target per replica", _target, _plain("load_per_replica")),
    ("needed", "Needed now", _needed, _plain("needed")),
    ("most_needed", "Needed lately", _delay, _plain("most_needed")),
    ("wanted_before", "Wanted before", _before, _plain("wanted_before")),
    ("min_replicas", "Range", _says("what the deployment allows"), _range),
)
TOLD = frozenset(
    {key for key, *_ in LINES}
    | {"oldest_waiting_seconds", "max_concurrency", "ready", "starting", "max_replicas", "scale_down_delay_seconds"}
    | {"data_seconds", "epoch"}
)


def _others(inputs: Inputs) -> Iterator[Term]:
    for key, value in inputs.items():
        if key not in TOLD and value is not None:
            yield Term(key.removesuffix("_seconds").replace("_", " ").capitalize(), "", _with_unit(key, value))


def _decision(data: Mapping[str, Any]) -> Term:
    before, after = data.get("from"), data.get("to")
    if not isinstance(before, int) or not isinstance(after, int):
        return Term("Decided", "", str(after), is_total=True)
    step = "up at once, at most doubled" if after > before else "down, at most halved"
    return Term("Decided", step, format_count(after, "replica"), is_total=True)


def _with_unit(key: str, value: object) -> str:
    return f"{number(value)} s" if key.endswith("_seconds") else number(value)


def number(value: object) -> str:
    """28.6, 3, 1,200; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.1f}".removesuffix(".0")
