"""A resolved configuration, and the part of it that a revision stores. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from deployments.config import upgrades
from deployments.config.available_options import ModelRef
from deployments.config.configuration import AnyEngineSettings, Configuration
from deployments.engines.base import LaunchContext
from deployments.schema.adapter import Adapter
from deployments.schema.types import Section


class UnreadableSpec(ValueError):
    """A stored configuration that this release cannot read, such as one of a later release."""

    PROBLEM = "The configuration cannot be read by this release of the console."
    ACTION = "Ask an operator to install the release that wrote it, or terminate the deployment and create it anew."


class RevisionSpec(Section):
    """What needs a restart when it changes: model, adapters, engine with its settings, GPUs per replica."""

    model: ModelRef
    adapters: tuple[Adapter, ...] = ()
    engine: AnyEngineSettings
    gpu_count: int

    def to_json(self) -> dict[str, Any]:
        """With the schema version; what is None is left out, so that a setting added later changes nothing stored."""
        return {"schema_version": upgrades.SCHEMA_VERSION, **self.model_dump(mode="json", exclude_none=True)}

    @staticmethod
    def from_json(stored: Mapping[str, Any]) -> RevisionSpec:
        """Reads every schema version that was ever stored; raises `UnreadableSpec` for anything else."""
        try:
            return RevisionSpec.model_validate(upgrades.upgrade(stored))
        except (KeyError, TypeError, ValidationError) as error:
            raise UnreadableSpec(f"The stored configuration cannot be read by this release: {error}") from error

    @property
    def spec_hash(self) -> str:
        """SHA-256 of the canonical JSON without None values and schema version, so that an upgrade restarts nothing."""
        text = json.dumps(self.model_dump(mode="json", exclude_none=True), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def configuration_json(self, gpu_type: str) -> dict[str, Any]:
        """The sections of a canonical body that a revision holds, with the GPU type, which never changes."""
        return {
            "model": {"source": self.model.source, "id": self.model.id},
            "adapters": [adapter.model_dump(mode="json") for adapter in self.adapters],
            "engine": self.engine.model_dump(mode="json"),
            "gpu": {"type": gpu_type, "count": self.gpu_count},
        }

    def launch_context(self, served_names: tuple[str, ...]) -> LaunchContext:
        return LaunchContext(
            self.model.repository, self.model.weight_bytes, served_names, self.gpu_count, self.adapters
        )


@dataclass(frozen=True)
class DeploymentSpec:
    """A configuration with every value chosen, and the facts of its model."""

    configuration: Configuration
    model: ModelRef

    @property
    def revision(self) -> RevisionSpec:
        chosen = self.configuration
        return RevisionSpec(
            model=self.model, adapters=chosen.adapters, engine=chosen.engine, gpu_count=chosen.gpu.count
        )

    def to_json(self) -> dict[str, Any]:
        """The canonical body."""
        return self.configuration.to_json()
