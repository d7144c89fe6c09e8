"""How engines are launched, and what their end means."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args

import pytest

from deployments import causes
from deployments.drivers.base import ExitRecord
from deployments.engines.base import LaunchContext, least_usage_reporting
from deployments.engines.registry import ENGINES
from deployments.engines.simulator.engine import Fault, SimulatedBehaviour, SimulatorSettings
from deployments.engines.vllm import Vllm, VllmSettings
from deployments.schema.adapter import Adapter
from deployments.schema.engine_settings import EngineSettings

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NAMES = ("chat", "demo/chat")
REPOSITORY = "meta-llama/Llama-3.1-8B-Instruct"
VLLM = VllmSettings(context_length=8192)
SQL = Adapter(name="sql", repository="demo/llama-sql-lora")
MAIL = Adapter(name="mail", repository="demo/llama-mail-lora")


def context(gpu_count: int = 1, *adapters: Adapter) -> LaunchContext:
    return LaunchContext(REPOSITORY, 16_060_522_496, NAMES, gpu_count, adapters)


def launched(settings: EngineSettings, gpu_count: int = 1, *adapters: Adapter) -> tuple[str, ...]:
    return ENGINES[settings.name].launch(settings, context(gpu_count, *adapters)).command


def simulated(**behaviour: object) -> SimulatorSettings:
    return SimulatorSettings(
        context_length=4096, max_concurrency=4, simulator=SimulatedBehaviour.model_validate(behaviour)
    )


@pytest.mark.parametrize(
    ("engine", "gpu_count", "flags"),
    [
        pytest.param({}, 1, ("--max-model-len", "8192"), id="context length"),
        pytest.param({"context_length": 512}, 1, ("--max-model-len", "512"), id="another context length"),
        pytest.param({"max_concurrency": 7}, 1, ("--max-num-seqs", "7"), id="max concurrency"),
        pytest.param({"max_num_batched_tokens": 8192}, 1, ("--max-num-batched-tokens", "8192"), id="batched tokens"),
        pytest.param({"enable_chunked_prefill": True}, 1, ("--enable-chunked-prefill",), id="chunked prefill on"),
        pytest.param({"enable_chunked_prefill": False}, 1, ("--no-enable-chunked-prefill",), id="chunked prefill off"),
        pytest.param({}, 4, ("--tensor-parallel-size", "4"), id="all GPUs hold one model"),
        pytest.param({"prefix_caching": True}, 1, ("--enable-prefix-caching",), id="prefix caching on"),
        pytest.param({"prefix_caching": False}, 1, ("--no-enable-prefix-caching",), id="prefix caching off"),
        pytest.param({}, 1, ("--served-model-name", "chat", "demo/chat"), id="every name is served"),
        pytest.param({}, 1, ("--host", "127.0.0.1", "--port", "{port}"), id="the driver chooses the port"),
        pytest.param({}, 1, ("vllm", "serve", REPOSITORY), id="the model's repository"),
    ],
)
def test_vllm_gets_a_flag_for_each_setting(engine: dict[str, object], gpu_count: int, flags: tuple[str, ...]) -> None:
    command = launched(VLLM.model_copy(update=engine), gpu_count)
    places = range(len(command) - len(flags) + 1)
    assert any(command[place : place + len(flags)] == flags for place in places)


def test_vllm_is_given_nothing_else() -> None:
    flags = [part for part in launched(VLLM) if part.startswith("--")]
    assert flags == [
        "--served-model-name",
        "--tensor-parallel-size",
        "--max-model-len",
        "--max-num-seqs",
        "--enable-prefix-caching",
        "--host",
        "--port",
    ]


def after(command: tuple[str, ...], flag: str) -> tuple[str, ...]:
    """The values of a flag, up to the next one."""
    values = command[command.index(flag) + 1 :]
    end = next((place for place, part in enumerate(values) if part.startswith("--")), len(values))
    return values[:end]


def test_vllm_serves_each_adapter_under_each_public_name() -> None:
    command = launched(VLLM, 1, SQL, MAIL)
    assert "--enable-lora" in command
    assert [json.loads(module) for module in after(command, "--lora-modules")] == [
        {"name": "chat:sql", "path": "demo/llama-sql-lora", "base_model_name": "chat"},
        {"name": "chat:mail", "path": "demo/llama-mail-lora", "base_model_name": "chat"},
        {"name": "demo/chat:sql", "path": "demo/llama-sql-lora", "base_model_name": "demo/chat"},
        {"name": "demo/chat:mail", "path": "demo/llama-mail-lora", "base_model_name": "demo/chat"},
    ]


@pytest.mark.parametrize(("adapters", "at_once", "kept"), [(1, "2", "2"), (4, "8", "8"), (20, "8", "40")])
def test_vllm_keeps_every_adapter_and_sets_gpu_memory_aside_for_a_few(adapters: int, at_once: str, kept: str) -> None:
    many = tuple(Adapter(name=f"a{number}", repository="demo/lora") for number in range(adapters))
    command = launched(VLLM, 1, *many)
    assert after(command, "--max-loras") == (at_once,)
    assert after(command, "--max-cpu-loras") == (kept,)
    assert after(command, "--max-lora-rank") == ("64",)


def test_a_pinned_adapter_is_never_silently_another_one() -> None:
    command = launched(VLLM, 1, SQL.model_copy(update={"revision": "v2"}))
    assert json.loads(after(command, "--lora-modules")[0])["path"] == "demo/llama-sql-lora@v2"


def test_vllm_is_probed_at_its_health_path_and_runs_from_an_image() -> None:
    launch = ENGINES["vllm"].launch(VLLM, context())
    assert (launch.health_path, launch.metrics_path, launch.download) == ("/health", "/metrics", None)
    assert launch.image.startswith("vllm/vllm-openai:v")
    assert launch.environment["VLLM_NO_USAGE_STATS"] == "1"


def test_the_simulator_serves_every_name_at_the_asked_pace() -> None:
    command = launched(simulated(ttft_ms=5.0, itl_ms=0.5, initialize_seconds=0.0), 2)
    assert command[command.index("serve") + 1 :] == (
        *("--port", "{port}", "--model", REPOSITORY, "--gpu-count", "2"),
        *("--served-name", "chat", "--served-name", "demo/chat"),
        *("--max-model-len", "4096", "--max-concurrency", "4"),
        *("--initialize-seconds", "0", "--ttft-ms", "5", "--itl-ms", "0.5"),
    )


def test_the_simulator_is_told_of_adapters_as_vllm_is() -> None:
    assert after(launched(simulated(), 1, SQL), "--lora-modules") == after(launched(VLLM, 1, SQL), "--lora-modules")
    assert "--lora-modules" not in launched(simulated())


def test_the_simulator_downloads_as_many_bytes_as_the_model_has() -> None:
    download = ENGINES["simulator"].launch(simulated(download_seconds=1.5), context()).download
    assert download is not None
    assert download[-5:] == ("download", "--total", "16060522496", "--seconds", "1.5")


@pytest.mark.parametrize("fault", get_args(Fault))
def test_a_fault_is_handed_to_the_step_that_fails(fault: str) -> None:
    launch = ENGINES["simulator"].launch(simulated(fail=fault), context())
    assert launch.download is not None
    assert ("--fail" in launch.download) == (fault == "download")
    assert launch.command[-2:] == ("--fail", fault) or fault == "download"


NO_ADAPTER = "ValueError: Call to add_lora method failed: Loading lora chat:sql failed: No adapter found for demo/x"
RANK = "ValueError: LoRA rank 128 is greater than max_lora_rank 64."
ADAPTER_MEMORY = "Exception: Call to add_lora method failed: CUDA out of memory. Tried to allocate 2.00 GiB."
TRACE = "INFO loading\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\nINFO bye"


@pytest.mark.parametrize(
    ("exited", "log", "code", "evidence"),
    [
        pytest.param(("download", 1), "no route", "download_failed", "no route", id="the download failed"),
        pytest.param(("engine", 1), TRACE, "out_of_memory", TRACE.splitlines()[1], id="out of GPU memory"),
        pytest.param(("engine", 1), f"a\n{NO_ADAPTER}\nb", "adapter_failed", NO_ADAPTER, id="an adapter is not there"),
        pytest.param(("engine", 1), f"{RANK}\nbye", "adapter_failed", RANK, id="an adapter of too high a rank"),
        pytest.param(("engine", 1), ADAPTER_MEMORY, "out_of_memory", ADAPTER_MEMORY, id="no memory for an adapter"),
        pytest.param(
            ("engine", 1),
            "WARNING x does not support LoRA\nb",
            "engine_exited",
            "WARNING x does not support LoRA\nb",
            id="a warning about adapters is no error",
        ),
        pytest.param(("engine", 1), "a\n\nb", "engine_exited", "a\nb", id="any other exit"),
        pytest.param(("engine", -9), "", "engine_exited", "", id="killed, said nothing"),
        pytest.param(("engine", 127), "x\nvllm: not found", "executable_missing", "vllm: not found", id="no program"),
        pytest.param(("engine", None), "a", "engine_exited", "a", id="nobody saw how"),
    ],
)
def test_an_end_is_explained_with_evidence(exited: tuple[str, int | None], log: str, code: str, evidence: str) -> None:
    step, status = exited
    for engine in ENGINES.values():
        cause = engine.failure(ExitRecord(NOON, status, step), log)
        assert (cause.code, cause.evidence) == (code, evidence)
        assert cause.facts.get("exit_code", status) == status


def test_memory_that_the_provider_saw_run_out_needs_no_line_in_the_log() -> None:
    exited = ExitRecord(NOON, -9, "engine", out_of_memory=True)
    assert ENGINES["vllm"].failure(exited, "last words").code == "out_of_memory"


def test_evidence_is_short() -> None:
    assert causes.last_lines("\n".join("x" * 1000 for _ in range(50))) == "\n".join(["x" * 1000] * 5)[-2000:]


def test_a_route_asks_for_the_usage_that_all_of_its_engines_can_report():
    every, last, never = (replace(Vllm(), usage_reporting=level) for level in ("every_chunk", "last_chunk", "none"))
    assert least_usage_reporting([every, last]) == "last_chunk"
    assert least_usage_reporting([never, last, every]) == "none"
    assert least_usage_reporting([]) == "every_chunk"
    assert {engine.usage_reporting for engine in ENGINES.values()} == {"every_chunk"}
