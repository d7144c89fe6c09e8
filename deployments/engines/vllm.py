"""vLLM: `vllm serve` with the flags of a revision. Pure.

Flags as in vLLM's `vllm serve --help` (engine arguments). Weights come from the Hugging Face cache of the node or are
fetched by vLLM itself while it initializes, so there is no download step.
"""

from __future__ import annotations

from dataclasses import dataclass

from deployments.causes import Cause
from deployments.drivers.base import ExitRecord, Launch
from deployments.engines import base
from deployments.specs import RevisionSpec

IMAGE = "vllm/vllm-openai:v0.11.0"
ENVIRONMENT = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True)
class Vllm:
    title: str = "vLLM"
    availability: base.Availability = "available"

    def launch(self, spec: RevisionSpec, served_names: tuple[str, ...], gpu_count: int) -> Launch:
        engine = spec.engine
        return Launch(
            command=(
                *("vllm", "serve", spec.model.repository),
                *("--served-model-name", *served_names),
                *("--max-model-len", str(engine.context_length)),
                *("--max-num-seqs", str(engine.max_concurrency)),
                *("--tensor-parallel-size", str(gpu_count)),
                "--enable-prefix-caching" if engine.prefix_caching else "--no-enable-prefix-caching",
                *("--host", "127.0.0.1", "--port", "{port}"),
            ),
            health_path="/health",
            metrics_path="/metrics",
            environment=ENVIRONMENT,
            image=IMAGE,
        )

    def failure(self, exited: ExitRecord, log_tail: str) -> Cause:
        return base.failure(self.title, exited, log_tail)
