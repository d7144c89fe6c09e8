"""The accelerator products that deployments may name."""

import json
from decimal import Decimal
from typing import Any

import pytest

from deployments.catalog import data_files
from deployments.catalog.data_files import InvalidCatalog

MEMORY_GB = {
    "a10g-24gb": 24,
    "l4-24gb": 24,
    "l40s-48gb": 48,
    "a100-40gb": 40,
    "a100-80gb": 80,
    "h100-pcie-80gb": 80,
    "h100-sxm-80gb": 80,
    "h200-141gb": 141,
    "b200-180gb": 180,
    "rtx-4090": 24,
    "rtx-6000-ada": 48,
    "mi300x-192gb": 192,
}
TYPES = {entry.id: entry for entry in data_files.load_gpu_types()}


def test_the_ids_are_those_of_the_interface() -> None:
    assert {name: entry.memory_gb for name, entry in TYPES.items()} == MEMORY_GB


@pytest.mark.parametrize("name", MEMORY_GB)
def test_a_driver_reports_about_what_is_sold(name: str) -> None:
    """Vendors count 10⁹ or 2³⁰ bytes and firmware keeps some: between 93 % and 100 % of the figure as GiB."""
    assert Decimal("0.93") <= TYPES[name].memory_gib / TYPES[name].memory_gb <= 1


@pytest.mark.parametrize("name", MEMORY_GB)
def test_memory_fits_its_column(name: str) -> None:
    memory = TYPES[name].memory_gib
    assert memory == memory.quantize(Decimal("0.01"))


def test_every_type_says_where_it_is_from() -> None:
    assert all(entry.source_url.startswith("https://") and entry.vendor for entry in TYPES.values())


def row(**changes: Any) -> dict[str, Any]:
    whole = json.loads((data_files.FOLDER / "gpu_types.json").read_text())[0]
    return {**whole, **changes}


@pytest.mark.parametrize("memory_gib", [0, 30], ids=["none", "more than is sold"])
def test_impossible_memory_is_refused(memory_gib: int) -> None:
    with pytest.raises(InvalidCatalog, match="memory_gib"):
        data_files.parse_gpu_types(json.dumps([row(memory_gib=memory_gib)]))


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(InvalidCatalog, match="watts"):
        data_files.parse_gpu_types(json.dumps([row(watts=300)]))
