"""Stored revisions of earlier schema versions, brought to the present one. Pure.

A new setting defaults to None and needs no step. Renaming or removing a setting, or tightening a bound, needs one:
`STEPS[n]` turns JSON of version n into version n + 1. An example of every version is in tests/unit/deployments/config/
stored, and must load.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

SCHEMA_VERSION = 1
STEPS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


def upgrade(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON in the present version, without `schema_version`."""
    body = dict(stored)
    for version in range(body.pop("schema_version"), SCHEMA_VERSION):
        body = STEPS[version](body)
    return body
