"""The simulator as a program: its streams, its queue, its account of every request."""

import asyncio
import json
import os
import socket
import struct
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

from deployments.engines.simulator import embeddings, tokens

CHAT: list[Any] = [{"role": "user", "content": "Say something."}]
PROMPT_TOKENS = tokens.count(tokens.chat_prompt(CHAT))


@dataclass
class Running:
    """A simulator that serves `chat` and `demo/chat` with two adapters, two requests at a time, a token every 2 ms."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes]

    def entries(self) -> dict[str, dict[str, Any]]:
        rows = [json.loads(line) for line in (self.folder / "requests.jsonl").read_text().splitlines()]
        return {row["request_id"]: row for row in rows}

    def client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)


def adapters(*names: str) -> list[str]:
    modules = (
        {"name": f"{base}:{name}", "path": f"demo/{name}-lora", "base_model_name": base}
        for base in ("chat", "demo/chat")
        for name in names
    )
    return ["--lora-modules", *map(json.dumps, modules)]


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
        stderr=subprocess.STDOUT,
    )
    return Running(f"http://127.0.0.1:{port}", folder, process)


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    model = ["--model", "meta-llama/Llama-3.1-8B-Instruct"]
    running = start(tmp_path_factory.mktemp("simulator"), *model, *adapters("sql", "mail"))
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
    assert [chunk.choices[0].delta.content for chunk in chunks] == [
        tokens.token_text(place) for place in range(max_tokens)
    ]
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
    assert [choice.message.content for choice in answer.choices] == [tokens.generate(64)] * 2
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


async def test_models_and_their_adapters_are_listed_with_root_and_parent(simulator: Running) -> None:
    rows = [model.to_dict() async for model in simulator.client().models.list()]
    base = "meta-llama/Llama-3.1-8B-Instruct"
    assert [(row["id"], row["root"], row["parent"]) for row in rows] == [
        ("chat", base, None),
        ("demo/chat", base, None),
        ("chat:sql", "demo/sql-lora", "chat"),
        ("chat:mail", "demo/mail-lora", "chat"),
        ("demo/chat:sql", "demo/sql-lora", "demo/chat"),
        ("demo/chat:mail", "demo/mail-lora", "demo/chat"),
    ]
    assert [row["max_model_len"] for row in rows] == [20_000, 20_000, None, None, None, None]


@pytest.mark.parametrize("model", ["chat:sql", "demo/chat:mail"])
async def test_an_adapter_answers_by_name_and_says_so(simulator: Running, model: str) -> None:
    name = model.partition(":")[2]
    answer = await simulator.client().chat.completions.create(
        model=model, messages=CHAT, max_tokens=20, extra_headers={"x-request-id": model}
    )
    said = answer.choices[0].message.content
    assert said == tokens.generate(20, name)
    assert said.startswith(f"Simulated answer of adapter {name} ")
    assert (answer.model, answer.usage and answer.usage.completion_tokens) == (model, 20)
    assert (await until_noted(simulator, model))["model"] == model


async def test_an_adapter_that_is_not_served_is_no_model(simulator: Running) -> None:
    with pytest.raises(openai.NotFoundError):
        await simulator.client().completions.create(model="chat:other", prompt="a")


@pytest.mark.parametrize("encoding_format", [{}, {"encoding_format": "float"}])
async def test_embeddings_come_as_the_official_client_wants_them(
    simulator: Running, encoding_format: dict[str, Any]
) -> None:
    request_id = f"embed-{len(encoding_format)}"
    answer = await simulator.client().embeddings.create(
        model="demo/chat",
        input="first",
        dimensions=8,
        extra_headers={"x-request-id": request_id},
        **encoding_format,
    )
    assert answer.data[0].embedding == list(struct.unpack("<8f", embeddings.compute_vector("first", dimensions=8)))
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (2, 2)
    entry = await until_noted(simulator, request_id)
    assert (entry["route"], entry["prompt_tokens"], entry["completion_tokens"]) == ("/v1/embeddings", 2, 0)


async def test_no_prompt_is_written_down(simulator: Running) -> None:
    await simulator.client().completions.create(model="chat", prompt="confidential words", max_tokens=1)
    written = (simulator.folder / "requests.jsonl").read_text() + (simulator.folder / "out").read_text()
    assert "confidential" not in written


async def streaming(running: Running, request_id: str, max_tokens: int) -> Any:
    """A stream that has begun."""
    stream = await running.client().completions.create(
        model="chat", prompt="go on", max_tokens=max_tokens, stream=True, extra_headers={"x-request-id": request_id}
    )
    await anext(stream)
    return stream


async def until_nobody_is_let_in(running: Running) -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", int(running.url.rpartition(":")[2]))
        except ConnectionRefusedError:
            return
        writer.close()
        await asyncio.sleep(0.01)
    raise AssertionError("new connections were still accepted")


async def test_a_shutdown_lets_nobody_in_and_what_is_in_flight_end(tmp_path: Path) -> None:
    running = start(tmp_path)
    await until_health_is(running, 200)
    streams = [await streaming(running, f"last-{number}", 400) for number in range(2)]
    queued = asyncio.create_task(streaming(running, "queued", 10))
    await until_it_waits(running, 1)
    running.process.terminate()
    await until_nobody_is_let_in(running)
    assert running.process.poll() is None
    for stream in (*streams, await queued):
        assert [chunk.choices[0].finish_reason async for chunk in stream][-1] == "length"
    assert await asyncio.to_thread(running.process.wait, 10) == 0
    ends = {name: (entry["completion_tokens"], entry["outcome"]) for name, entry in running.entries().items()}
    assert ends == {"last-0": (400, "finished"), "last-1": (400, "finished"), "queued": (10, "finished")}


async def test_what_outlasts_the_grace_is_cut_off_and_written_down(tmp_path: Path) -> None:
    running = start(tmp_path, "--grace-seconds", "0.5", "--max-concurrency", "1")
    await until_health_is(running, 200)
    body = {"model": "chat", "prompt": "go on", "max_tokens": 10_000, "stream": True}
    begun = {"url": f"{running.url}/v1/completions", "headers": {"x-request-id": "begun"}, "json": body}
    async with aiohttp.ClientSession() as session, session.post(**begun) as response:
        await response.content.readuntil(b"\n\n")
        queued = asyncio.create_task(session.post(**begun | {"headers": {"x-request-id": "queued"}}))
        await until_it_waits(running, 1)
        running.process.terminate()
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.read()
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await queued
    assert await asyncio.to_thread(running.process.wait, 10) == 0
    assert {entry["outcome"] for entry in running.entries().values()} == {"aborted"}
    assert 0 == running.entries()["queued"]["completion_tokens"] < running.entries()["begun"]["completion_tokens"]
    assert "Traceback" not in (tmp_path / "out").read_text()


async def until_it_waits(running: Running, requests: int) -> None:
    wanted = f'vllm:num_requests_waiting{{engine="0",model_name="chat"}} {requests:.1f}'
    async with aiohttp.ClientSession() as session:
        for _ in range(500):
            async with session.get(f"{running.url}/metrics") as response:
                if wanted in await response.text():
                    return
            await asyncio.sleep(0.01)
    raise AssertionError(f"{requests} requests never waited")


async def test_hundreds_of_streams_at_once_keep_their_pace(tmp_path: Path) -> None:
    running = start(tmp_path, "--max-concurrency", "300", "--itl-ms", "15")
    await until_health_is(running, 200)
    body = {"model": "chat", "prompt": "a", "max_tokens": 100, "stream": True}
    connector = aiohttp.TCPConnector(limit=0)

    async def stream(session: aiohttp.ClientSession) -> tuple[int, float]:
        async with session.post(f"{running.url}/v1/completions", json=body) as response:
            await response.content.readuntil(b"\n\n")
            begun = time.monotonic()
            rest = await response.content.read()
            return 1 + rest.count(b"data: {"), time.monotonic() - begun

    async with aiohttp.ClientSession(connector=connector) as session:
        ended = await asyncio.gather(*(stream(session) for _ in range(300)))
    assert {count for count, _ in ended} == {100}
    lengths = sorted(seconds for _, seconds in ended)
    assert lengths[150] == pytest.approx(99 * 0.015, rel=0.3)
    running.process.terminate()
    assert await asyncio.to_thread(running.process.wait, 10) == 0


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
