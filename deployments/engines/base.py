"""What an engine is: how it is launched on one replica, and what its end means. Pure.

An engine knows no cluster: it gives a `Launch`, which any driver can carry out.
"""

from __future__ import annotations

import json
import re
from typing import Literal, Protocol

from deployments import causes
from deployments.causes import Cause
from deployments.drivers.base import ExitRecord, Launch
from deployments.specs import Adapter, RevisionSpec

Availability = Literal["available", "coming_soon", "needs_licence"]
NOT_FOUND = 127  # what a shell and our drivers say when there is no such program
OUT_OF_MEMORY = re.compile(
    r"torch\.(?:cuda\.)?OutOfMemoryError|(?:CUDA|HIP) out of memory|CUDA error: out of memory"
    r"|No available memory for the cache blocks|larger than the available KV cache memory",
)

# What vLLM says when an adapter of --lora-modules is not there, is not one, or does not fit model or rank.
ADAPTER_REFUSED = re.compile(
    r"(?:Error|Exception): .*(?:add_lora method failed|Loading lora .+ failed|greater than max_lora_rank"
    r"|does not support LoRA|is unsupported LoRA weight|expected target modules in|does not yet support DoRA)",
)


class Engine(Protocol):
    """One program that serves tokens. `availability` says whether it can be chosen."""

    @property
    def title(self) -> str: ...

    @property
    def availability(self) -> Availability: ...

    def launch(self, spec: RevisionSpec, served_names: tuple[str, ...], gpu_count: int) -> Launch:
        """How to run it for `spec`, answering to every name of `served_names`, on `gpu_count` GPUs."""

    def failure(self, exited: ExitRecord, log_tail: str) -> Cause:
        """What its end means when nobody asked for it; `log_tail` is the end of its output."""


def lora_modules(spec: RevisionSpec, served_names: tuple[str, ...]) -> tuple[str, ...]:
    """The values of vLLM's `--lora-modules`: one JSON object for each adapter under each public name."""
    return tuple(
        json.dumps({"name": f"{name}:{one.name}", "path": _source(one), "base_model_name": name})
        for name in served_names
        for one in spec.adapters
    )


def _source(adapter: Adapter) -> str:
    return f"{adapter.repository}@{adapter.revision}" if adapter.revision else adapter.repository


def failure(title: str, exited: ExitRecord, log_tail: str) -> Cause:
    """The reading for every engine on PyTorch: download, memory, adapters, missing program, any other exit."""
    if exited.step == "download":
        return causes.download_failed(exited.code, log_tail)
    line = next((one for one in reversed(log_tail.splitlines()) if OUT_OF_MEMORY.search(one)), "")
    if line or exited.out_of_memory:
        return causes.out_of_memory(line.strip()[: causes.EVIDENCE_CHARACTERS] or causes.last_lines(log_tail))
    line = next((one for one in reversed(log_tail.splitlines()) if ADAPTER_REFUSED.search(one)), "")
    if line:
        return causes.adapter_failed(line.strip()[: causes.EVIDENCE_CHARACTERS])
    if exited.code == NOT_FOUND:
        return causes.executable_missing(title, log_tail)
    return causes.engine_exited(exited.code, log_tail)
