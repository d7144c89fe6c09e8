"""The replica range in the form: a range or a fixed number, and the presets that set either. Pure.

All functions work on the texts of the form's fields by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.components.typed_numbers import read_whole, write_number
from deployments.config.configuration import Fixed, Range
from deployments.config.replica_range_presets import PRESETS, matching

FIXED_PRESET = PRESETS[-1].id
DEFAULT_MIN, DEFAULT_MAX = Range().min_replicas, Range().max_replicas
_PRESETS = {preset.id: preset for preset in PRESETS}
Texts = dict[str, str]


def texts_of_autoscaling(autoscaling: Mapping[str, Any]) -> Texts:
    """The texts for `autoscaling` of a canonical body. The fields of the other mode start from the same number."""
    is_fixed = not autoscaling["enabled"]
    count = autoscaling["replicas"] if is_fixed else autoscaling["max_replicas"]
    texts = {"fixed": "on" if is_fixed else "", "replicas": str(count)}
    for name in Range.model_fields:
        if name != "enabled":
            value = autoscaling.get(name, Range.model_fields[name].default)
            texts[name] = "" if value is None else write_number(value)
    if is_fixed:
        texts["max_replicas"] = str(max(DEFAULT_MAX, count))
    return with_preset(texts)


def apply_preset(texts: Mapping[str, str]) -> Texts:
    """A preset that was chosen since the page was rendered sets the range; otherwise the numbers hold. Text that is no
    number stays, to be refused at its field."""
    chosen = _PRESETS.get(texts["preset"])
    if chosen is None or texts["preset"] == texts["preset_was"]:
        return with_preset(texts)
    high = texts["replicas" if texts["fixed"] == "on" else "max_replicas"] or str(DEFAULT_MAX)
    if chosen.id == FIXED_PRESET:
        return with_preset({**texts, "fixed": "on", "replicas": high})
    return with_preset({**texts, "fixed": "", "min_replicas": str(chosen.min_replicas), "max_replicas": high})


def with_preset(texts: Mapping[str, str]) -> Texts:
    """The texts with the preset that the numbers come to; none for another range."""
    if texts["fixed"] == "on":
        preset = FIXED_PRESET
    else:
        low, high = read_whole(texts["min_replicas"], lowest=0), read_whole(texts["max_replicas"])
        found = matching(low, high) if low is not None and high is not None and low <= high else None
        preset = found.id if found else ""
    return {**texts, "preset": preset, "preset_was": preset}


def is_in_mode(name: str, texts: Mapping[str, str]) -> bool:
    """Whether a setting of autoscaling belongs to the mode that is chosen."""
    return name in (Fixed if texts["fixed"] == "on" else Range).model_fields


def read_bounds(texts: Mapping[str, str]) -> tuple[int, int]:
    """(min, max) as far as what is typed can be read."""
    if texts["fixed"] == "on":
        count = read_whole(texts["replicas"]) or 1
        return count, count
    low = read_whole(texts["min_replicas"], lowest=0)
    low = DEFAULT_MIN if low is None else low
    return low, max(low, read_whole(texts["max_replicas"]) or 1)
