"""How the console launches the simulator. Pure."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from deployments.causes import Cause
from deployments.drivers.base import ExitRecord, Launch
from deployments.engines import base
from deployments.specs import RevisionSpec, SimulatorSettings

ROOT = __file__.rpartition("/deployments/")[0]
PROGRAM = (sys.executable, "-m", "deployments.engines.simulator")


@dataclass(frozen=True)
class Simulator:
    title: str = "Simulator"
    availability: base.Availability = "available"

    def launch(self, spec: RevisionSpec, served_names: tuple[str, ...], gpu_count: int) -> Launch:
        settings = spec.engine.simulator or SimulatorSettings()
        return Launch(
            command=(*PROGRAM, "serve", *_serve(spec, settings, served_names, gpu_count)),
            health_path="/health",
            metrics_path="/metrics",
            download=(*PROGRAM, "download", *_download(spec, settings)),
            environment={"PYTHONPATH": ROOT, "PYTHONUNBUFFERED": "1"},
        )

    def failure(self, exited: ExitRecord, log_tail: str) -> Cause:
        return base.failure(self.title, exited, log_tail)


def _serve(
    spec: RevisionSpec, settings: SimulatorSettings, served_names: tuple[str, ...], gpu_count: int
) -> tuple[str, ...]:
    fault = settings.fail if settings.fail != "download" else None
    adapters = base.lora_modules(spec, served_names)
    return (
        *("--port", "{port}", "--model", spec.model.repository),
        *(part for name in served_names for part in ("--served-name", name)),
        *("--initialize-seconds", f"{settings.initialize_seconds:g}"),
        *("--ttft-ms", f"{settings.ttft_ms:g}"),
        *("--itl-ms", f"{settings.itl_ms:g}"),
        *("--max-model-len", str(spec.engine.context_length)),
        *("--max-concurrency", str(spec.engine.max_concurrency)),
        *("--gpu-count", str(gpu_count)),
        *(("--lora-modules", *adapters) if adapters else ()),
        *(("--fail", fault) if fault else ()),
    )


def _download(spec: RevisionSpec, settings: SimulatorSettings) -> tuple[str, ...]:
    fault = ("--fail",) if settings.fail == "download" else ()
    return ("--total", str(spec.model.weight_bytes), "--seconds", f"{settings.download_seconds:g}", *fault)
