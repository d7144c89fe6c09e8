"""vLLM: its settings and the flags of `vllm serve` that carry them. Pure.

Weights come from the Hugging Face cache of the node or are fetched by vLLM itself while it initializes, so there is no
download step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from deployments.causes import Cause
from deployments.drivers.base import ExitRecord, Launch
from deployments.engines import base
from deployments.schema.engine_settings import EngineSettings, arguments
from deployments.schema.setting import Flag, Setting
from deployments.schema.types import StrictBool, Whole

IMAGE = "vllm/vllm-openai:v0.11.0"
ENVIRONMENT = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"}

# GPU memory is reserved for this many adapters of up to this rank; requests for more adapters at once take turns.
MAX_LORAS_AT_ONCE, MAX_LORA_RANK = 8, 64


class VllmSettings(EngineSettings):
    """Settings of vLLM."""

    # Every flag is an engine argument of `vllm serve --help`.
    SHARED_FLAGS: ClassVar[Mapping[str, Flag]] = {
        "context_length": Flag("--max-model-len"),
        "max_concurrency": Flag("--max-num-seqs"),
        "prefix_caching": Flag("--enable-prefix-caching", off="--no-enable-prefix-caching"),
    }

    name: Literal["vllm"] = "vllm"
    max_num_batched_tokens: Annotated[
        int | None,
        Whole(ge=1, le=2**20),
        Setting(
            "Max batched tokens",
            "Maximum tokens per engine step. A higher value raises throughput and activation memory.",
            unit="tokens",
            advanced=True,
            placeholder="engine's default",
        ),
        Flag("--max-num-batched-tokens"),
    ] = None
    enable_chunked_prefill: Annotated[
        StrictBool | None,
        Setting(
            "Chunked prefill",
            "Processes long prompts in chunks, so that other requests wait less; the long prompt takes longer.",
            advanced=True,
        ),
        Flag("--enable-chunked-prefill", off="--no-enable-chunked-prefill"),
    ] = None


@dataclass(frozen=True)
class Vllm:
    title: str = "vLLM"
    availability: base.Availability = "available"
    settings: type[VllmSettings] = VllmSettings
    pins_adapters: bool = False  # it fetches the default branch of an adapter's repository, whatever is asked
    usage_reporting: base.UsageReporting = "every_chunk"

    def launch(self, settings: VllmSettings, context: base.LaunchContext) -> Launch:
        return Launch(
            command=(
                *("vllm", "serve", context.repository),
                *("--served-model-name", *context.served_names),
                *("--tensor-parallel-size", str(context.gpu_count)),
                *arguments(settings),
                *_lora_arguments(base.lora_modules(context)),
                *("--host", "127.0.0.1", "--port", "{port}"),
            ),
            health_path="/health",
            metrics_path="/metrics",
            environment=ENVIRONMENT,
            image=IMAGE,
        )

    def failure(self, exited: ExitRecord, log_tail: str) -> Cause:
        return base.failure(self.title, exited, log_tail)


def _lora_arguments(modules: tuple[str, ...]) -> tuple[str, ...]:
    """Every adapter stays in main memory (`--max-cpu-loras`), so none is fetched again while the replica lives."""
    if not modules:
        return ()
    return (
        *("--enable-lora", "--max-loras", str(min(len(modules), MAX_LORAS_AT_ONCE))),
        *("--max-cpu-loras", str(len(modules)), "--max-lora-rank", str(MAX_LORA_RANK)),
        *("--lora-modules", *modules),
    )
