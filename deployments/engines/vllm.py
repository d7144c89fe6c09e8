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

# GPU memory is set aside for so many adapters of so high a rank; requests for more than these at once take turns.
MOST_LORAS_AT_ONCE, MAX_LORA_RANK = 8, 64


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
                *_lora(base.lora_modules(spec, served_names)),
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


def _lora(modules: tuple[str, ...]) -> tuple[str, ...]:
    """Nothing without adapters. Each is kept in main memory, so none is fetched again while the replica lives."""
    if not modules:
        return ()
    return (
        *("--enable-lora", "--max-loras", str(min(len(modules), MOST_LORAS_AT_ONCE))),
        *("--max-cpu-loras", str(len(modules)), "--max-lora-rank", str(MAX_LORA_RANK)),
        *("--lora-modules", *modules),
    )
