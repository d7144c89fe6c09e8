"""What one simulator serves: the public names of a model, and adapters on it. Pure."""

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
class Served:
    """Every name of `names` answers for the same model, which came from `root`; `created`: seconds since the epoch."""

    names: tuple[str, ...]
    max_model_len: int
    created: int
    adapters: tuple[Adapter, ...] = ()
    root: str = ""

    @property
    def all_names(self) -> tuple[str, ...]:
        return (*self.names, *(one.name for one in self.adapters))

    def models(self) -> bytes:
        """The answer of /v1/models, as vLLM gives it: an adapter's root is its path, its parent the base model."""
        root = self.root or self.names[0]
        base = [{**self._row(name, root, None), "max_model_len": self.max_model_len} for name in self.names]
        adapters = [self._row(one.name, one.path, one.base_model_name) for one in self.adapters]
        return json.dumps({"object": "list", "data": [*base, *adapters]}, separators=(",", ":")).encode()

    def _row(self, name: str, root: str, parent: str | None) -> dict[str, Any]:
        told = {"id": name, "object": "model", "created": self.created, "owned_by": "simulator"}
        return {**told, "root": root, "parent": parent, "max_model_len": None}
