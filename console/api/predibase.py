"""Compatibility with Predibase: accelerator ids, which name product, memory and 100 × count. Pure."""

from __future__ import annotations

import re
from typing import Any

from deployments.schema.errors import FieldError, InvalidConfiguration

GPU_TYPES = {
    "a10_24gb": "a10g-24gb",
    "l4_24gb": "l4-24gb",
    "l40s_48gb": "l40s-48gb",
    "a100_80gb": "a100-80gb",
    "h100_80gb_pcie": "h100-pcie-80gb",
    "h100_80gb_sxm": "h100-sxm-80gb",
}
_ACCELERATOR = re.compile(r"(.+)_([1-9]\d?)00")


def translate_accelerator(body: Any) -> Any:
    """A body or patch with an accelerator id in `gpu.type` replaced by type and count; everything else as it is.

    Raises `InvalidConfiguration` when `gpu.count` says another number.
    """
    match body:
        case {"gpu": {"type": str(accelerator), **rest}} if found := _ACCELERATOR.fullmatch(accelerator):
            pass
        case _:
            return body
    if found[1] not in GPU_TYPES:
        return body
    count = int(found[2])
    if rest.get("count", count) != count:
        message = f"{accelerator} means {count} GPUs; remove gpu.count or send {count}."
        raise InvalidConfiguration([FieldError("gpu.count", "contradiction", message)])
    return {**body, "gpu": {**rest, "type": GPU_TYPES[found[1]], "count": count}}
