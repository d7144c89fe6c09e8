"""The models that one simulator serves: the public names of a model, and its adapters. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Adapter:
    """An entry of `--lora-modules`, with vLLM's fields: one adapter under one public name."""

    name: str
    path: str
    base_model_name: str


@dataclass(frozen=True)
class ServedModels:
    """Every name of `names` is the same model, from `root`. `created`: seconds since the epoch."""

    names: tuple[str, ...]
    max_model_len: int
    created: int
    adapters: tuple[Adapter, ...] = ()
    root: str = ""

    @property
    def all_names(self) -> tuple[str, ...]:
        return (*self.names, *(adapter.name for adapter in self.adapters))

    def list_models(self) -> bytes:
        """The response of /v1/models as vLLM's: an adapter's root is its path, its parent the base model."""
        root = self.root or self.names[0]
        base = [{**self._row(name, root, None), "max_model_len": self.max_model_len} for name in self.names]
        adapters = [self._row(adapter.name, adapter.path, adapter.base_model_name) for adapter in self.adapters]
        return json.dumps({"object": "list", "data": [*base, *adapters]}, separators=(",", ":")).encode()

    def _row(self, name: str, root: str, parent: str | None) -> dict[str, Any]:
        row = {"id": name, "object": "model", "created": self.created, "owned_by": "simulator"}
        return {**row, "root": root, "parent": parent, "max_model_len": None}
