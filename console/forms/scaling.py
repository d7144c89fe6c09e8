"""How many replicas, as the form asks for it: a range or a fixed number, and presets that set either. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from console.forms.numbers import number, whole
from deployments.choices import RANGE
from deployments.presets import PRESETS, matching
from deployments.specs import Autoscaling

FIELDS = ("preset", "preset_was", "fixed", "replicas", *RANGE)
FIXED = PRESETS[-1].id
_BY_ID = {one.id: one for one in PRESETS}


def filled(scaling: Mapping[str, Any]) -> dict[str, str]:
    """The fields for `autoscaling` of a canonical body. What belongs to the other way of scaling has the defaults,
    so that switching starts from something."""
    is_fixed = not scaling["enabled"]
    usual = asdict(Autoscaling())
    if is_fixed:
        usual["max_replicas"] = max(usual["max_replicas"], scaling["replicas"])
    values = {name: _text(scaling.get(name, usual[name])) for name in RANGE}
    count = scaling["replicas"] if is_fixed else scaling["max_replicas"]
    return with_preset({**values, "fixed": "on" if is_fixed else "", "replicas": str(count), "preset_was": ""})


def settled(values: Mapping[str, str]) -> dict[str, str]:
    """The typed fields, after a preset that was chosen anew has set the range; otherwise the numbers hold."""
    chosen = _BY_ID.get(values["preset"])
    if chosen is None or values["preset"] == values["preset_was"]:
        return with_preset(values)
    most = whole(values["replicas" if values["fixed"] == "on" else "max_replicas"]) or Autoscaling().max_replicas
    low, high = chosen.range_for(most)
    is_fixed = chosen.id == FIXED
    new = {"fixed": "on", "replicas": str(high)} if is_fixed else {"min_replicas": str(low), "max_replicas": str(high)}
    return with_preset({**values, "fixed": "", **new})


def with_preset(values: Mapping[str, str]) -> dict[str, str]:
    """The fields with the preset that they come to; none for a range of one's own."""
    if values["fixed"] == "on":
        name = FIXED
    else:
        low, high = whole(values["min_replicas"], lowest=0), whole(values["max_replicas"])
        found = matching(low, high) if low is not None and high is not None and low <= high else None
        name = found.id if found else ""
    return {**values, "preset": name, "preset_was": name}


def body(values: Mapping[str, str]) -> dict[str, Any]:
    """`autoscaling` of the body: the fixed number, or the range; what is empty is left out."""
    is_fixed = values["fixed"] == "on"
    names = ("replicas",) if is_fixed else RANGE
    return {"enabled": not is_fixed, **{name: number(values[name]) for name in names if values[name]}}


def bounds(values: Mapping[str, str]) -> tuple[int, int]:
    """(min, max) as far as what is typed can be read."""
    if values["fixed"] == "on":
        count = whole(values["replicas"]) or 1
        return count, count
    low = whole(values["min_replicas"], lowest=0)
    low = Autoscaling().min_replicas if low is None else low
    return low, max(low, whole(values["max_replicas"]) or 1)


def _text(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
