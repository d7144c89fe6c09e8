"""The fields for the number of replicas: a range or a fixed number, and presets that set either. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from console.deployments.number_input import parse_number, parse_whole
from deployments.choices import RANGE
from deployments.presets import PRESETS, matching
from deployments.specs import Autoscaling

FIELDS = ("preset", "preset_was", "fixed", "replicas", *RANGE)
FIXED = PRESETS[-1].id
_BY_ID = {preset.id: preset for preset in PRESETS}


def fill_fields(scaling: Mapping[str, Any]) -> dict[str, str]:
    """The fields for `autoscaling` of a canonical body. What belongs to the other way of scaling has the defaults,
    so that switching starts from something."""
    is_fixed = not scaling["enabled"]
    defaults = asdict(Autoscaling())
    if is_fixed:
        defaults["max_replicas"] = max(defaults["max_replicas"], scaling["replicas"])
    values = {name: _format(scaling.get(name, defaults[name])) for name in RANGE}
    count = scaling["replicas"] if is_fixed else scaling["max_replicas"]
    return set_preset({**values, "fixed": "on" if is_fixed else "", "replicas": str(count), "preset_was": ""})


def apply_preset(values: Mapping[str, str]) -> dict[str, str]:
    """The typed fields, after a preset that was chosen anew has set the range; otherwise the numbers hold."""
    chosen = _BY_ID.get(values["preset"])
    if chosen is None or values["preset"] == values["preset_was"]:
        return set_preset(values)
    most = parse_whole(values["replicas" if values["fixed"] == "on" else "max_replicas"]) or Autoscaling().max_replicas
    low, high = chosen.range_for(most)
    is_fixed = chosen.id == FIXED
    new = {"fixed": "on", "replicas": str(high)} if is_fixed else {"min_replicas": str(low), "max_replicas": str(high)}
    return set_preset({**values, "fixed": "", **new})


def set_preset(values: Mapping[str, str]) -> dict[str, str]:
    """The fields with the preset that they come to; none for a range of one's own."""
    if values["fixed"] == "on":
        name = FIXED
    else:
        low, high = parse_whole(values["min_replicas"], lowest=0), parse_whole(values["max_replicas"])
        found = matching(low, high) if low is not None and high is not None and low <= high else None
        name = found.id if found else ""
    return {**values, "preset": name, "preset_was": name}


def build_body(values: Mapping[str, str]) -> dict[str, Any]:
    """`autoscaling` of the body: the fixed number, or the range; what is empty is left out."""
    is_fixed = values["fixed"] == "on"
    names = ("replicas",) if is_fixed else RANGE
    return {"enabled": not is_fixed, **{name: parse_number(values[name]) for name in names if values[name]}}


def read_bounds(values: Mapping[str, str]) -> tuple[int, int]:
    """(min, max) as far as what is typed can be read."""
    if values["fixed"] == "on":
        count = parse_whole(values["replicas"]) or 1
        return count, count
    low = parse_whole(values["min_replicas"], lowest=0)
    low = Autoscaling().min_replicas if low is None else low
    return low, max(low, parse_whole(values["max_replicas"]) or 1)


def _format(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
