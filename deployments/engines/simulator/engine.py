"""The simulator: its settings and how the console launches it. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from deployments.causes import Cause
from deployments.drivers.base import ExitRecord, Launch
from deployments.engines import base
from deployments.schema.engine_settings import EngineSettings, arguments
from deployments.schema.setting import Flag, Setting
from deployments.schema.types import Number, Section

ROOT = __file__.rpartition("/deployments/")[0]
PROGRAM = (sys.executable, "-m", "deployments.engines.simulator")
Fault = Literal["download", "initialize", "crash", "out_of_memory", "never_healthy"]


class SimulatedBehaviour(Section):
    """How the simulator behaves: the length of its start, the pace of its tokens, and how it fails."""

    download_seconds: Annotated[
        float, Number(ge=0, le=3600), Setting("Simulated download", unit="seconds", advanced=True)
    ] = 3.0
    initialize_seconds: Annotated[
        float,
        Number(ge=0, le=3600),
        Setting("Simulated initialization", unit="seconds", advanced=True),
        Flag("--initialize-seconds"),
    ] = 2.0
    ttft_ms: Annotated[
        float,
        Number(ge=0, le=60_000),
        Setting("Simulated TTFT", "Time to the first token.", unit="ms", advanced=True),
        Flag("--ttft-ms"),
    ] = 120.0
    itl_ms: Annotated[
        float,
        Number(ge=0, le=10_000),
        Setting("Simulated ITL", "Time between tokens after the first.", unit="ms", advanced=True),
        Flag("--itl-ms"),
    ] = 15.0
    fail: Annotated[
        Fault | None,
        Setting(
            "Simulated fault",
            "Simulates a failure of the engine.",
            advanced=True,
            choice_titles={
                "": "Never fails",
                "download": "The download fails",
                "initialize": "Exits while it initializes",
                "crash": "Crashes a second after it is ready",
                "out_of_memory": "Runs out of GPU memory",
                "never_healthy": "Never becomes healthy",
            },
        ),
    ] = None


class SimulatorSettings(EngineSettings):
    """Settings of the simulator."""

    SHARED_FLAGS: ClassVar[Mapping[str, Flag]] = {
        "context_length": Flag("--max-model-len"),
        "max_concurrency": Flag("--max-concurrency"),
    }

    name: Literal["simulator"] = "simulator"
    simulator: Annotated[SimulatedBehaviour, Setting("Simulator")] = SimulatedBehaviour()


@dataclass(frozen=True)
class Simulator:
    title: str = "Simulator"
    availability: base.Availability = "available"
    settings: type[SimulatorSettings] = SimulatorSettings
    pins_adapters: bool = True
    usage_reporting: base.UsageReporting = "every_chunk"

    def launch(self, settings: SimulatorSettings, context: base.LaunchContext) -> Launch:
        behaviour = settings.simulator
        modules = base.lora_modules(context)
        fails_in_download = behaviour.fail == "download"
        return Launch(
            command=(
                *PROGRAM,
                *("serve", "--port", "{port}", "--model", context.repository, "--gpu-count", str(context.gpu_count)),
                *(part for name in context.served_names for part in ("--served-name", name)),
                *arguments(settings),
                *arguments(behaviour),
                *(("--lora-modules", *modules) if modules else ()),
                *(("--fail", behaviour.fail) if behaviour.fail and not fails_in_download else ()),
            ),
            health_path="/health",
            metrics_path="/metrics",
            download=(
                *PROGRAM,
                *("download", "--total", str(context.weight_bytes), "--seconds", f"{behaviour.download_seconds:g}"),
                *(("--fail",) if fails_in_download else ()),
            ),
            environment={"PYTHONPATH": ROOT, "PYTHONUNBUFFERED": "1"},
        )

    def failure(self, exited: ExitRecord, log_tail: str) -> Cause:
        return base.failure(self.title, exited, log_tail)
