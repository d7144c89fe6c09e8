"""GPUs of this machine: found through NVML, or declared where there are none."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache

import pynvml

# What NVML calls a product, without the maker's name in front.
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
    """GPU indices by type id; no index occurs twice. `simulated`: declared, not found on the hardware."""

    indices: Mapping[str, tuple[int, ...]]
    simulated: bool

    @property
    def counts(self) -> dict[str, int]:
        return {gpu_type: len(indices) for gpu_type, indices in self.indices.items()}

    def choose(self, gpu_type: str, count: int, taken: Collection[int]) -> tuple[int, ...] | None:
        """The lowest free indices; None when there are not enough."""
        free = [index for index in self.indices.get(gpu_type, ()) if index not in taken]
        return tuple(free[:count]) if len(free) >= count else None


def of(declared: Mapping[str, int], found: Mapping[str, tuple[int, ...]]) -> Inventory:
    """What the hardware has when nothing is declared or it has all of it; else what is declared."""
    if all(len(found.get(gpu_type, ())) >= count for gpu_type, count in declared.items()):
        return Inventory(found, simulated=False)
    first, indices = 0, {}
    for gpu_type in sorted(declared):
        indices[gpu_type] = tuple(range(first, first + declared[gpu_type]))
        first += declared[gpu_type]
    return Inventory(indices, simulated=True)


@cache
def found() -> Mapping[str, tuple[int, ...]]:
    """NVML's devices by type id, asked once per process; none without a driver. Unknown products are left out."""
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
    return by_type(names)


def by_type(names: list[str]) -> dict[str, tuple[int, ...]]:
    """Indices by type id from NVML's product names, in the order of the indices."""
    types = [gpu_type_of(name) for name in names]
    known = sorted({one for one in types if one})
    return {one: tuple(index for index, gpu_type in enumerate(types) if gpu_type == one) for one in known}


def gpu_type_of(name: str) -> str | None:
    """Our id for a product as NVML names it; None for one that we do not know."""
    return PRODUCTS.get(name.removeprefix("NVIDIA ").strip())
