"""Every engine by the name that a deployment's `engine.name` uses. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from deployments.engines.base import Engine as Engine
from deployments.engines.simulator.engine import Simulator
from deployments.engines.vllm import Vllm

ENGINES: Mapping[str, Engine] = MappingProxyType({"vllm": Vllm(), "simulator": Simulator()})
