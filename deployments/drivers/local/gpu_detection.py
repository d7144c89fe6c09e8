"""GPUs of this machine: detected with NVML, or declared and simulated."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache

import pynvml

# GPU type ids by NVML product name, without the vendor prefix.
PRODUCTS = {
    "A10G": "a10g-24gb",
    "L4": "l4-24gb",
    "L40S": "l40s-48gb",
    "A100-PCIE-40GB": "a100-40gb",
    "A100-SXM4-40GB": "a100-40gb",
    "A100 80GB PCIe": "a100-80gb",
    "A100-SXM4-80GB": "a100-80gb",
    "H100 PCIe": "h100-pcie-80gb",
    "H100 80GB HBM3": "h100-sxm-80gb",
    "H200": "h200-141gb",
    "H200 NVL": "h200-141gb",
    "B200": "b200-180gb",
    "GeForce RTX 4090": "rtx-4090",
    "RTX 6000 Ada Generation": "rtx-6000-ada",
}


@dataclass(frozen=True)
class Inventory:
    """GPU indices by type id; no index occurs twice. `simulated`: declared, not detected on the hardware."""

    indices: Mapping[str, tuple[int, ...]]
    simulated: bool

    @property
    def counts(self) -> dict[str, int]:
        return {gpu_type: len(indices) for gpu_type, indices in self.indices.items()}

    def choose(self, gpu_type: str, count: int, taken: Collection[int]) -> tuple[int, ...] | None:
        """The lowest free indices; None when there are not enough."""
        free = [index for index in self.indices.get(gpu_type, ()) if index not in taken]
        return tuple(free[:count]) if len(free) >= count else None


def combine(declared: Mapping[str, int], detected: Mapping[str, tuple[int, ...]]) -> Inventory:
    """The detected GPUs if they include all declared ones; else the declared ones, simulated."""
    if all(len(detected.get(gpu_type, ())) >= count for gpu_type, count in declared.items()):
        return Inventory(detected, simulated=False)
    first, indices = 0, {}
    for gpu_type in sorted(declared):
        indices[gpu_type] = tuple(range(first, first + declared[gpu_type]))
        first += declared[gpu_type]
    return Inventory(indices, simulated=True)


@cache
def detect() -> Mapping[str, tuple[int, ...]]:
    """NVML's devices by type id, read once per process; empty without a driver. Unknown products are left out."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return {}
    try:
        names = [
            pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(index))
            for index in range(pynvml.nvmlDeviceGetCount())
        ]
    finally:
        pynvml.nvmlShutdown()
    return group_by_type(names)


def group_by_type(names: list[str]) -> dict[str, tuple[int, ...]]:
    """Indices by type id from NVML's product names, in the order of the indices."""
    indices: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        if gpu_type := find_gpu_type(name):
            indices.setdefault(gpu_type, []).append(index)
    return {gpu_type: tuple(indices[gpu_type]) for gpu_type in sorted(indices)}


def find_gpu_type(name: str) -> str | None:
    """The GPU type id of an NVML product name; None if it is unknown."""
    return PRODUCTS.get(name.removeprefix("NVIDIA ").strip())
