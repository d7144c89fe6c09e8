"""What may be chosen now: the environment that a configuration is resolved and checked against. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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
    """Catalog models by id, endpoints by name, the memory and the title of every known GPU type, and the availability
    of every engine ("available", "coming_soon", "needs_licence"). `delay_floor_seconds`: the shortest scale-down
    delay."""

    models: Mapping[str, ModelRef]
    endpoints: Mapping[str, EndpointOption]
    gpu_memory_gib: Mapping[str, float]
    engines: Mapping[str, str]
    delay_floor_seconds: int = 300
    gpu_titles: Mapping[str, str] = field(default_factory=dict)

    @property
    def available_engines(self) -> list[str]:
        return [name for name, availability in self.engines.items() if availability == "available"]

    def gpu_title(self, type_id: str) -> str:
        """The title of a GPU type; its id where it has none."""
        return self.gpu_titles.get(type_id) or type_id

    def describe_gpus(self, endpoint: EndpointOption) -> str:
        """The GPU types of the endpoint's cluster, each with the id that is sent: A10G (a10g-24gb), L4 (l4-24gb)."""
        return ", ".join(f"{self.gpu_title(type_id)} ({type_id})" for type_id in sorted(endpoint.gpus)) or "none"
