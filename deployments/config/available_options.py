"""What may be chosen now: the environment that a configuration is resolved and checked against. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deployments.schema.types import Section


class ModelRef(Section):
    """A model with the facts that a revision keeps of it. `weight_bytes` is the size of its weights, `context_length`
    the most tokens that it reads."""

    source: str
    id: str
    repository: str
    weight_bytes: int
    context_length: int


@dataclass(frozen=True)
class EndpointOption:
    """An endpoint to deploy on. `gpus` is its cluster's inventory by GPU type id; `simulated`: only declared."""

    name: str
    simulated: bool
    gpus: Mapping[str, int]

    @property
    def default_engine(self) -> str:
        return "simulator" if self.simulated else "vllm"


@dataclass(frozen=True)
class Options:
    """Catalog models by id, endpoints by name, the memory of every known GPU type, and the availability of every engine
    ("available", "coming_soon", "needs_licence"). `delay_floor_seconds`: the shortest scale-down delay."""

    models: Mapping[str, ModelRef]
    endpoints: Mapping[str, EndpointOption]
    gpu_memory_gib: Mapping[str, float]
    engines: Mapping[str, str]
    delay_floor_seconds: int = 300

    @property
    def available_engines(self) -> list[str]:
        return [name for name, availability in self.engines.items() if availability == "available"]
