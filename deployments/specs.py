"""The configuration of a deployment as frozen values, their JSON and their checks. Pure.

The form and the API both end here: they build a `DeploymentSpec`, and whatever is wrong comes back as `FieldError`s
whose `field` is the path of rest.md §3 (`autoscaling.replicas`, `gpu.count`, …).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from deployments.fields import FieldError as FieldError

NAME_PATTERN = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
ADAPTER_PATTERN = r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?"
REPOSITORY_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
FAULTS = ("download", "initialize", "crash", "out_of_memory", "never_healthy")


class InvalidSpec(Exception):
    """The input cannot be used; `errors` says why, field by field."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = errors


@dataclass(frozen=True)
class SimulatorSettings:
    """How the simulator behaves (rest.md §3). Seconds and milliseconds; `fail` is one of FAULTS."""

    download_seconds: float = 3.0
    initialize_seconds: float = 2.0
    ttft_ms: float = 120.0
    itl_ms: float = 15.0
    fail: str | None = None


@dataclass(frozen=True)
class ModelRef:
    source: str
    id: str
    repository: str
    weight_bytes: int
    context_length: int


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter from Hugging Face; callers name it `deployment:name`. `revision` empty: the default branch."""

    name: str
    repository: str
    revision: str = ""


@dataclass(frozen=True)
class EngineSettings:
    name: str
    context_length: int
    max_concurrency: int = 16
    prefix_caching: bool = True
    simulator: SimulatorSettings | None = None


@dataclass(frozen=True)
class RevisionSpec:
    """What needs a restart when it changes: model, adapters, engine with its settings, GPUs per replica."""

    model: ModelRef
    engine: EngineSettings
    gpu_count: int
    adapters: tuple[Adapter, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> RevisionSpec:
        engine = dict(data["engine"])
        simulator = engine.pop("simulator", None)
        return RevisionSpec(
            model=ModelRef(**data["model"]),
            engine=EngineSettings(**engine, simulator=SimulatorSettings(**simulator) if simulator else None),
            gpu_count=data["gpu_count"],
            adapters=tuple(Adapter(**one) for one in data.get("adapters", ())),
        )

    @property
    def spec_hash(self) -> str:
        """SHA-256 of the canonical JSON, hexadecimal."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Autoscaling:
    """How many replicas: a range, or with `enabled` False a fixed number (the range of one number).

    `min_replicas` 0: it sleeps after `sleep_after_seconds` without a request (None: after the scale-down delay).
    """

    enabled: bool = True
    min_replicas: int = 1
    max_replicas: int = 3
    scale_down_delay_seconds: int = 300
    sleep_after_seconds: int | None = None

    @staticmethod
    def fixed(replicas: int) -> Autoscaling:
        return Autoscaling(False, replicas, replicas)

    @property
    def first_replicas(self) -> int:
        """How many to start with: one that shows that it works, even where the minimum is 0."""
        return max(1, self.min_replicas)


@dataclass(frozen=True)
class DeploymentSpec:
    """A whole deployment as asked for, every default filled in."""

    name: str
    endpoint: str
    gpu_type: str
    revision: RevisionSpec
    autoscaling: Autoscaling = field(default_factory=Autoscaling)
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EndpointOption:
    """An endpoint to deploy on. `gpus` is its cluster's inventory by GPU type id; `simulated`: only declared."""

    name: str
    simulated: bool
    gpus: Mapping[str, int]


@dataclass(frozen=True)
class Options:
    """What may be chosen now: catalog models by id, endpoints by name, the memory of every known GPU type, and the
    availability of every engine ("available", "coming_soon", "needs_licence"). `delay_floor_seconds`: the shortest
    scale-down delay that may be chosen (K4)."""

    models: Mapping[str, ModelRef]
    endpoints: Mapping[str, EndpointOption]
    gpu_memory_gib: Mapping[str, float]
    engines: Mapping[str, str]
    delay_floor_seconds: int = 300


def parse(body: Mapping[str, Any], options: Options, in_force: DeploymentSpec | None = None) -> DeploymentSpec:
    """Read a deployment as people and programs send it. Raises `InvalidSpec`.

    `in_force` is the configuration that an edit starts from: what it has may stay, even where it could not be chosen
    any more (a model that left the catalog, a floor that rose, an inventory that shrank).
    """
    from deployments import parsing  # it builds the values of this module

    return parsing.parse(body, options, in_force)
