"""What an engine is: its settings, how it is launched on one replica, and what its end means. Pure.

An engine knows no cluster: it returns a `Launch`, which any driver can carry out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

from deployments import causes
from deployments.causes import Cause
from deployments.drivers.base import ExitRecord, Launch
from deployments.schema.adapter import Adapter
from deployments.schema.engine_settings import EngineSettings

UsageReporting = Literal["every_chunk", "last_chunk", "none"]  # from the most to the least
Availability = Literal["available", "coming_soon", "needs_licence"]
NOT_FOUND = 127  # the exit code of a shell and of our drivers when there is no such program
OUT_OF_MEMORY = re.compile(
    r"torch\.(?:cuda\.)?OutOfMemoryError|(?:CUDA|HIP) out of memory|CUDA error: out of memory"
    r"|No available memory for the cache blocks|larger than the available KV cache memory",
)

# What vLLM logs when an adapter of --lora-modules is missing, invalid, or does not fit the model or the rank limit.
ADAPTER_REFUSED = re.compile(
    r"(?:Error|Exception): .*(?:add_lora method failed|Loading lora .+ failed|greater than max_lora_rank"
    r"|does not support LoRA|is unsupported LoRA weight|expected target modules in|does not yet support DoRA)",
)


@dataclass(frozen=True)
class LaunchContext:
    """What one replica serves, besides the engine's settings: the weights' Hugging Face `repository` and size, every
    public name, the adapters, and the GPUs it gets."""

    repository: str
    weight_bytes: int
    served_names: tuple[str, ...]
    gpu_count: int
    adapters: tuple[Adapter, ...] = ()


class Engine(Protocol):
    """One program that serves tokens. `settings` declares what can be configured; `availability` says whether it can be
    chosen; `pins_adapters` whether it can load an adapter at a given revision of its repository; `usage_reporting` how
    often it reports the usage of a stream."""

    @property
    def title(self) -> str: ...

    @property
    def availability(self) -> Availability: ...

    @property
    def settings(self) -> type[EngineSettings]: ...

    @property
    def pins_adapters(self) -> bool: ...

    @property
    def usage_reporting(self) -> UsageReporting: ...

    def launch(self, settings: Any, context: LaunchContext) -> Launch:
        """How to run it. `settings` is an instance of the engine's own settings class."""

    def failure(self, exited: ExitRecord, log_tail: str) -> Cause:
        """What an exit means that nobody asked for; `log_tail` is the end of its output."""


def least_usage_reporting(engines: Iterable[Engine]) -> UsageReporting:
    """What all of these engines can report; the most if there is none."""
    levels: tuple[UsageReporting, ...] = get_args(UsageReporting)
    return max((engine.usage_reporting for engine in engines), key=levels.index, default=levels[0])


def lora_modules(context: LaunchContext) -> tuple[str, ...]:
    """The values of vLLM's `--lora-modules`: one JSON object for each adapter under each public name."""
    return tuple(
        json.dumps(
            {
                "name": f"{name}:{adapter.name}",
                "path": f"{adapter.repository}@{adapter.revision}" if adapter.revision else adapter.repository,
                "base_model_name": name,
            }
        )
        for name in context.served_names
        for adapter in context.adapters
    )


def failure(title: str, exited: ExitRecord, log_tail: str) -> Cause:
    """The cause for engines built on PyTorch: download, memory, adapters, missing program, any other exit."""
    if exited.step == "download":
        return causes.download_failed(exited.code, log_tail)
    memory = last_matching_line(OUT_OF_MEMORY, log_tail)
    if memory or exited.out_of_memory:
        return causes.out_of_memory(memory or causes.last_lines(log_tail))
    if refused := last_matching_line(ADAPTER_REFUSED, log_tail):
        return causes.adapter_failed(refused)
    if exited.code == NOT_FOUND:
        return causes.executable_missing(title, log_tail)
    return causes.engine_exited(exited.code, log_tail)


def last_matching_line(pattern: re.Pattern[str], log_tail: str) -> str:
    """The last line that the pattern occurs in, cut to the length of evidence; empty without one."""
    line = next((line for line in reversed(log_tail.splitlines()) if pattern.search(line)), "")
    return line.strip()[: causes.EVIDENCE_CHARACTERS]
