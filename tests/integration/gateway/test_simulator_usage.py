"""The gateway in front of the simulated engine: usage events match the journal of the engine."""

import asyncio
import json

from deployments.engines.simulator import tokens
from deployments.engines.simulator.generator import Generator, Pace
from deployments.engines.simulator.http_api import HttpApi, ServedModels
from deployments.engines.simulator.metrics import Metrics
from deployments.engines.simulator.request_log import RequestLog
from tests.integration.gateway.conftest import World, chat, served, until

# Slow enough that the engine notices a client that left within two tokens, on a busy machine too.
SECONDS_PER_TOKEN = 0.25


async def test_usage_events_match_the_request_log_of_the_engine(world: World):
    metrics = Metrics("chat")
    generator = Generator(Pace(0.0, SECONDS_PER_TOKEN, 8), metrics, RequestLog(str(world.folder)))
    engine = HttpApi(ServedModels(("chat", "acme/chat"), 1000, 1), generator, metrics)
    engine.ready.set()
    deployment = await world.deployment()
    address = await world.stack.enter_async_context(served(engine, lifespan="off", timeout_graceful_shutdown=1))
    await world.announce(deployment, address)
    url = await world.gateway()
    client = world.client(url)

    async def leave():
        stream = await client.chat.completions.create(**chat("leaves", stream=True, max_tokens=500))
        for _ in range(3):
            await anext(stream)
        await stream.close()

    await asyncio.gather(
        world.post(url, chat("whole", max_tokens=3)),
        world.post(url, chat("streamed", stream=True, max_tokens=5)),
        world.post(
            url,
            chat("asked", model="acme/chat", stream=True, stream_options={"include_usage": True}, n=2, max_tokens=4),
        ),
        leave(),
    )

    async def are_settled():
        return await world.is_idle() and len(await world.events()) == 4

    async def rows():
        lines = (world.folder / "requests.jsonl").read_text().splitlines()
        return {row["request_id"]: row for row in map(json.loads, lines)} if len(lines) == 4 else None

    await until(are_settled)
    journal = await until(rows)
    for event in await world.events():
        row = journal[event.request_id]
        assert event.input_tokens == row["prompt_tokens"]
        assert 0 <= row["completion_tokens"] - event.output_tokens <= (2 if event.outcome == "client_left" else 0)
    whole = next(event for event in await world.events() if not event.stream)
    prompt = tokens.chat_prompt([{"role": "user", "content": "whole"}])
    assert (whole.input_tokens, whole.output_tokens) == (tokens.count(prompt), 3)
