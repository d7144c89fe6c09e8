"""GPU products by NVML's names, and which indices a replica gets."""

import json
from pathlib import Path

import pytest

from deployments import engines
from deployments.drivers.local import gpu_detection
from deployments.drivers.local.gpu_detection import Inventory


@pytest.mark.parametrize(
    ("name", "gpu_type"),
    [
        ("NVIDIA A10G", "a10g-24gb"),
        ("NVIDIA L4", "l4-24gb"),
        ("NVIDIA L40S", "l40s-48gb"),
        ("NVIDIA A100-SXM4-40GB", "a100-40gb"),
        ("A100-SXM4-40GB", "a100-40gb"),
        ("NVIDIA A100-PCIE-40GB", "a100-40gb"),
        ("NVIDIA A100 80GB PCIe", "a100-80gb"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
        ("NVIDIA H100 PCIe", "h100-pcie-80gb"),
        ("NVIDIA H100 80GB HBM3", "h100-sxm-80gb"),
        ("NVIDIA H200", "h200-141gb"),
        ("NVIDIA B200", "b200-180gb"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx-6000-ada"),
        ("NVIDIA H100 NVL", None),
        ("NVIDIA GeForce RTX 4090 D", None),
        ("Tesla T4", None),
    ],
)
def test_a_product_has_one_id_or_is_unknown(name: str, gpu_type: str | None) -> None:
    assert gpu_detection.find_gpu_type(name) == gpu_type


def test_every_id_is_a_gpu_type_of_the_reference_data() -> None:
    path = Path(engines.__file__).parents[1] / "catalog" / "gpu_types.json"
    assert set(gpu_detection.PRODUCTS.values()) <= {row["id"] for row in json.loads(path.read_text())}


def test_found_devices_keep_their_own_indices() -> None:
    names = ["NVIDIA L4", "NVIDIA H200", "Tesla T4", "NVIDIA L4"]
    assert gpu_detection.group_by_type(names) == {"l4-24gb": (0, 3), "h200-141gb": (1,)}


FOUND = {"l4-24gb": (0, 3), "h200-141gb": (1,)}


@pytest.mark.parametrize(
    ("declared", "found", "counts", "simulated"),
    [
        pytest.param({}, FOUND, {"l4-24gb": 2, "h200-141gb": 1}, False, id="nothing declared: the hardware"),
        pytest.param({"l4-24gb": 2}, FOUND, {"l4-24gb": 2, "h200-141gb": 1}, False, id="the hardware has it all"),
        pytest.param({"l4-24gb": 3}, FOUND, {"l4-24gb": 3}, True, id="the hardware has less"),
        pytest.param({"b200-180gb": 8, "l4-24gb": 2}, {}, {"b200-180gb": 8, "l4-24gb": 2}, True, id="no hardware"),
        pytest.param({}, {}, {}, False, id="nothing at all"),
    ],
)
def test_what_is_declared_beyond_the_hardware_is_simulated(
    declared: dict[str, int], found: dict[str, tuple[int, ...]], counts: dict[str, int], simulated: bool
) -> None:
    gpus = gpu_detection.combine(declared, found)
    assert (gpus.counts, gpus.simulated) == (counts, simulated)


def test_no_declared_index_occurs_twice() -> None:
    gpus = gpu_detection.combine({"l4-24gb": 3, "b200-180gb": 2}, {})
    assert sorted(index for indices in gpus.indices.values() for index in indices) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("count", "taken", "chosen"),
    [
        pytest.param(2, set(), (4, 5), id="the lowest"),
        pytest.param(2, {4}, (5, 6), id="around what is taken"),
        pytest.param(2, {4, 6}, None, id="not enough are free"),
    ],
)
def test_the_lowest_free_indices_are_chosen(count: int, taken: set[int], chosen: tuple[int, ...] | None) -> None:
    assert Inventory({"l4-24gb": (4, 5, 6)}, simulated=True).choose("l4-24gb", count, taken) == chosen
