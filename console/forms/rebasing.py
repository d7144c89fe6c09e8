"""Two people edit the same deployment: what the second typed is put onto what the first saved. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.forms import scaling
from console.forms.deployment import FIXED, TITLES, DeploymentForm
from console.forms.numbers import number

_ALL = (*(name for name in TITLES if name not in (*FIXED, "organization", "adapters")), "fixed")


def rebased(
    form: DeploymentForm, base: Mapping[str, Any], current: Mapping[str, Any]
) -> tuple[DeploymentForm, list[str]]:
    """The form as it is to be shown: what was typed since `base` (the canonical body that the page was opened with),
    and in every field that was left alone the value of `current`. With it the titles of the fields that both
    changed, each to something else: there the typed one stands."""
    old, new = DeploymentForm.of(base), DeploymentForm.of(current)
    mine = {name for name in _ALL if not _same(form.values[name], old.values[name])}
    theirs = {name for name in _ALL if not _same(new.values[name], old.values[name])}
    both = [TITLES.get(name, "autoscaling") for name in _ALL if name in mine & theirs and _differ(form, new, name)]
    values = {**form.values, **{name: new.values[name] for name in theirs - mine}}
    rows = form.adapters
    if rows == old.adapters:
        rows = new.adapters
    elif new.adapters not in (old.adapters, rows):
        both.append(TITLES["adapters"])
    return DeploymentForm({**values, **scaling.with_preset(values)}, list(rows), current), both


def _differ(form: DeploymentForm, new: DeploymentForm, name: str) -> bool:
    return not _same(form.values[name], new.values[name])


def _same(one: str, other: str) -> bool:
    return number(one.replace("\r\n", "\n").strip()) == number(other.replace("\r\n", "\n").strip())
