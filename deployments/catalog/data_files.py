"""The hosted list and the GPU types as they stand in models.json and gpu_types.json, checked while they are read.

The fields of an entry are the columns of its model (`CatalogModel`, `GpuType`); docs/catalog.md says how one is made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from deployments.catalog import model_architecture

FOLDER = Path(__file__).parent
DTYPES = ("BF16", "FP16", "F32", "FP8", "MXFP4")


class InvalidCatalog(ValueError):
    """An entry of a file is wrong: which one and why."""


@dataclass(frozen=True)
class CatalogEntry:
    """One open model. `weight_bytes` is the sum of its safetensors, `architecture` the numbers of its config.json."""

    id: str
    title: str
    family: str
    publisher: str
    repository: str
    description: str
    parameters: int
    active_parameters: int | None
    weight_bytes: int
    dtype: str
    context_length: int
    architecture: Mapping[str, Any]
    license: str
    source_url: str
    sourced_at: date
    gated: bool


@dataclass(frozen=True)
class GpuTypeEntry:
    """One accelerator product. `memory_gb` as sold (10⁹ bytes), `memory_gib` as a driver reports it (2³⁰ bytes)."""

    id: str
    title: str
    vendor: str
    memory_gb: int
    memory_gib: Decimal
    source_url: str


def load_models() -> list[CatalogEntry]:
    """All models of models.json, in its order. Raises `InvalidCatalog`."""
    return parse_models((FOLDER / "models.json").read_text())


def load_gpu_types() -> list[GpuTypeEntry]:
    """All GPU types of gpu_types.json, in its order. Raises `InvalidCatalog`."""
    return parse_gpu_types((FOLDER / "gpu_types.json").read_text())


def parse_models(text: str) -> list[CatalogEntry]:
    """Read the text of models.json. Raises `InvalidCatalog`."""
    entries = [_model(row) for row in json.loads(text)]
    _refuse_doubles([entry.id for entry in entries])
    return entries


def parse_gpu_types(text: str) -> list[GpuTypeEntry]:
    """Read the text of gpu_types.json. Raises `InvalidCatalog`."""
    entries = [_gpu_type(row) for row in json.loads(text, parse_float=Decimal)]
    _refuse_doubles([entry.id for entry in entries])
    return entries


def _model(row: Mapping[str, Any]) -> CatalogEntry:
    _refuse_other_fields(row, CatalogEntry)
    refuse = partial(_refuse, row["id"])
    if row["dtype"] not in DTYPES:
        refuse(f"dtype must be one of {', '.join(DTYPES)}")
    if min(row["parameters"], row["weight_bytes"], row["context_length"]) <= 0:
        refuse("parameters, weight_bytes and context_length must be positive")
    try:
        shape = model_architecture.parse(row["architecture"])
    except model_architecture.InvalidArchitecture as error:
        refuse(str(error))
    if bool(shape.experts) != (row["active_parameters"] is not None):
        refuse("active_parameters belong to a mixture of experts, and to nothing else")
    return CatalogEntry(**{**row, "sourced_at": date.fromisoformat(row["sourced_at"])})


def _gpu_type(row: Mapping[str, Any]) -> GpuTypeEntry:
    _refuse_other_fields(row, GpuTypeEntry)
    memory_gib = Decimal(row["memory_gib"])
    if not 0 < memory_gib * 2**30 < Decimal("1.1") * row["memory_gb"] * 10**9:
        _refuse(row["id"], "memory_gib must be what a driver reports of memory_gb")
    return GpuTypeEntry(**{**row, "memory_gib": memory_gib})


def _refuse_other_fields(row: Mapping[str, Any], entry: type[CatalogEntry] | type[GpuTypeEntry]) -> None:
    wanted = {field.name for field in fields(entry)}
    if wrong := sorted(wanted ^ row.keys()):
        _refuse(str(row.get("id", "?")), f"missing or unknown: {', '.join(wrong)}")


def _refuse_doubles(ids: list[str]) -> None:
    for double in {name for name in ids if ids.count(name) > 1}:
        _refuse(double, "the id appears twice")


def _refuse(entry_id: str, why: str) -> NoReturn:
    raise InvalidCatalog(f"{entry_id}: {why}")
