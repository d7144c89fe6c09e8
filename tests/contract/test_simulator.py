"""The simulator as a program: its streams, its queue, its account of every request."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from deployments.engines.simulator import tokens

CHAT: list[Any] = [{"role": "user", "content": "Say something."}]
PROMPT_TOKENS = tokens.count(tokens.chat_prompt(CHAT))


@dataclass
class Running:
    """A simulator that serves `chat` and `demo/chat`, two requests at a time, one token every 2 ms."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes]

    def entries(self) -> dict[str, dict[str, Any]]:
        rows = [json.loads(line) for line in (self.folder / "requests.jsonl").read_text().splitlines()]
        return {row["request_id"]: row for row in rows}

    def client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)


def start(folder: Path, *more: str) -> Running:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["--port", str(port), "--served-name", "chat", "--served-name", "demo/chat", "--max-concurrency", "2"]
    pace = ["--initialize-seconds", "0", "--ttft-ms", "20", "--itl-ms", "2", "--max-model-len", "20000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "deployments.engines.simulator", "serve", *arguments, *pace, *more],
        env={**os.environ, "CONSOLE_REPLICA_DIR": str(folder)},
        stdout=(folder / "out").open("wb"),
    )
    return Running(f"http://127.0.0.1:{port}", folder, process)


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = start(tmp_path_factory.mktemp("simulator"))
    asyncio.run(until_health_is(running, 200))
    yield running
    running.process.terminate()
    assert running.process.wait(10) == 0


async def until_health_is(running: Running, status: int) -> None:
    deadline = time.monotonic() + 15
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < deadline:
            try:
                async with session.get(f"{running.url}/health") as response:
                    if response.status == status:
                        return
            except aiohttp.ClientError:
                await asyncio.sleep(0.02)
    raise AssertionError(f"/health was never {status}")


async def until_noted(running: Running, request_id: str) -> dict[str, Any]:
    for _ in range(500):
        if entry := running.entries().get(request_id):
            return entry
        await asyncio.sleep(0.02)
    raise AssertionError(f"{request_id} was never written down")


@pytest.mark.parametrize("max_tokens", [1, 3, 100])
async def test_a_stream_has_one_chunk_for_each_token(simulator: Running, max_tokens: int) -> None:
    stream = await simulator.client().chat.completions.create(
        model="demo/chat",
        messages=CHAT,
        max_tokens=max_tokens,
        stream=True,
        stream_options={"include_usage": True},
        extra_headers={"x-request-id": f"stream-{max_tokens}"},
    )
    *chunks, last = [chunk async for chunk in stream]
    assert [chunk.choices[0].delta.content for chunk in chunks] == [tokens.piece(place) for place in range(max_tokens)]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (max_tokens - 1) + ["length"]
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (PROMPT_TOKENS, max_tokens)
    entry = await until_noted(simulator, f"stream-{max_tokens}")
    assert (entry["prompt_tokens"], entry["completion_tokens"], entry["outcome"]) == (
        PROMPT_TOKENS,
        max_tokens,
        "finished",
    )


async def test_without_a_stream_the_answer_comes_whole(simulator: Running) -> None:
    answer = await simulator.client().chat.completions.create(model="chat", messages=CHAT, n=2)
    assert [choice.message.content for choice in answer.choices] == [tokens.answer(64)] * 2
    assert answer.system_fingerprint == "simulated"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 128


async def test_a_client_that_leaves_stops_the_generation(simulator: Running) -> None:
    stream = await simulator.client().completions.create(
        model="chat", prompt="go on", max_tokens=10_000, stream=True, extra_headers={"x-request-id": "leaver"}
    )
    received = [await anext(stream) for _ in range(5)]
    await stream.close()
    entry = await until_noted(simulator, "leaver")
    assert entry["outcome"] == "aborted"
    assert len(received) <= entry["completion_tokens"] < 10_000


async def test_requests_beyond_the_concurrency_wait_their_turn(simulator: Running) -> None:
    client = simulator.client()
    asked = [
        client.completions.create(model="chat", prompt=str(n), max_tokens=50, extra_headers={"x-request-id": f"q{n}"})
        for n in range(4)
    ]
    begun = time.monotonic()
    await asyncio.gather(*asked)
    assert time.monotonic() - begun >= 2 * (0.02 + 49 * 0.002)
    entries = [await until_noted(simulator, f"q{n}") for n in range(4)]
    seconds = sorted(entry["seconds"] for entry in entries)
    assert seconds[-1] > 1.5 * seconds[0]


async def test_metrics_have_vllms_names(simulator: Running) -> None:
    await simulator.client().completions.create(model="chat", prompt="a", max_tokens=1)
    async with aiohttp.ClientSession() as session, session.get(f"{simulator.url}/metrics") as response:
        text = await response.text()
    for name in (
        'vllm:num_requests_running{engine="0",model_name="chat"} 0.0',
        'vllm:num_requests_waiting{engine="0",model_name="chat"} 0.0',
        "vllm:prompt_tokens_total",
        "vllm:generation_tokens_total",
        "vllm:time_to_first_token_seconds_bucket",
        "vllm:inter_token_latency_seconds_bucket",
        "vllm:e2e_request_latency_seconds_bucket",
        'vllm:request_success_total{engine="0",finished_reason="length"',
    ):
        assert name in text


async def test_errors_have_vllms_shape(simulator: Running) -> None:
    client = simulator.client()
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.completions.create(model="other", prompt="a")
    assert unknown.value.param == "model"
    with pytest.raises(openai.BadRequestError) as too_long:
        await client.completions.create(model="chat", prompt="a", max_tokens=20_000)
    assert "maximum context length is 20000 tokens" in too_long.value.message
    assert [model.id async for model in client.models.list()] == ["chat", "demo/chat"]


async def test_no_prompt_is_written_down(simulator: Running) -> None:
    await simulator.client().completions.create(model="chat", prompt="confidential words", max_tokens=1)
    written = (simulator.folder / "requests.jsonl").read_text() + (simulator.folder / "out").read_text()
    assert "confidential" not in written


async def test_what_a_shutdown_cuts_off_is_written_down_as_aborted(tmp_path: Path) -> None:
    running = start(tmp_path)
    await until_health_is(running, 200)
    stream = await running.client().completions.create(
        model="chat", prompt="go on", max_tokens=10_000, stream=True, extra_headers={"x-request-id": "cut"}
    )
    await anext(stream)
    running.process.terminate()
    await asyncio.to_thread(running.process.wait, 10)
    assert running.entries()["cut"]["outcome"] == "aborted"


async def test_an_engine_that_is_never_healthy_answers_its_probe_with_503(tmp_path: Path) -> None:
    running = start(tmp_path, "--fail", "never_healthy")
    await until_health_is(running, 503)
    with pytest.raises(openai.InternalServerError):
        await running.client().completions.create(model="chat", prompt="a")
    running.process.terminate()
    running.process.wait(10)


def test_a_crash_comes_a_second_after_somebody_saw_it_ready(tmp_path: Path) -> None:
    running = start(tmp_path, "--fail", "crash")
    asyncio.run(until_health_is(running, 200))
    assert running.process.wait(10) == 1


@pytest.mark.parametrize(("fault", "code"), [((), 0), (("--fail",), 1)])
def test_the_download_tells_its_progress_and_fails_when_told(fault: tuple[str, ...], code: int) -> None:
    command = [sys.executable, "-m", "deployments.engines.simulator", "download", "--total", "1000", "--seconds", "0.1"]
    done = subprocess.run([*command, *fault], capture_output=True, check=False)
    assert done.returncode == code
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert told[0] == {"done": 0, "total": 1000}
    assert (told[-1] == {"done": 1000, "total": 1000}) == (code == 0)
