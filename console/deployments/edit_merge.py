"""Two people edit the same deployment: what the second typed is put onto what the first saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.components.typed_numbers import read_number
from console.deployments import replica_range_fields
from console.deployments.forms import FIELDS, IMMUTABLE, DeploymentForm, in_sentence, rows_of, texts_of

_MERGED = (*(name for name in FIELDS if name not in IMMUTABLE), "fixed")


def merge_onto_current(form: DeploymentForm, base: Mapping[str, Any]) -> tuple[DeploymentForm, list[str]]:
    """The form as it is to be shown: what was typed since `base` (the canonical body that the page was opened with),
    and in every field that was left alone the value in force now.

    Returns with it the titles of the fields that both changed, each to something else: there the typed value stands.
    """
    assert form.current, "an edit starts from a configuration"
    current = form.current.to_json()
    old, new = texts_of(base), texts_of(current)
    mine = {name for name in _MERGED if not _is_same(form.texts[name], old[name])}
    theirs = {name for name in _MERGED if not _is_same(new[name], old[name])}
    both = [
        in_sentence(FIELDS[name].setting.title) if name in FIELDS else "autoscaling"
        for name in _MERGED
        if name in mine & theirs and not _is_same(form.texts[name], new[name])
    ]
    texts = {**form.texts, **{name: new[name] for name in theirs - mine}}
    rows, old_rows, new_rows = form.rows, rows_of(base), rows_of(current)
    if rows == old_rows:
        rows = new_rows
    elif new_rows not in (old_rows, rows):
        both.append("adapters")
    return form.copy(replica_range_fields.with_preset(texts), rows, is_typed=True), both


def _is_same(one: str, other: str) -> bool:
    return read_number(one.replace("\r\n", "\n").strip()) == read_number(other.replace("\r\n", "\n").strip())
