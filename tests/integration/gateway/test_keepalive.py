"""Queued streams: keep-alive comments, request ids, and errors as events."""

import asyncio
import json

import openai
import pytest

from gateway import contract, request_ids
from gateway.contract import RouteRecord
from tests.integration.gateway.conftest import World, chat, until, wait_until_queued

START = b": waiting for a replica to start\n\n"
SLOT = b": waiting for a free slot\n\n"


class Reader:
    """Reads a stream byte for byte."""

    def __init__(self, world: World, url: str, prompt: str = "hi") -> None:
        self.body, self.headers, self.status = b"", {}, 0
        self.task = asyncio.create_task(self._read(world, url, chat(prompt, stream=True)))

    async def _read(self, world: World, url: str, body: object) -> None:
        given = {"authorization": f"Bearer {world.key}"}
        async with world.session.post(f"{url}/v1/chat/completions", json=body, headers=given) as response:
            self.status, self.headers = response.status, response.headers
            async for chunk in response.content.iter_any():
                self.body += chunk

    async def has(self, piece: bytes) -> None:
        async def is_there() -> bool:
            return piece in self.body

        await until(is_there)

    def error(self) -> dict[str, object]:
        """Return the error event at the end of the stream."""
        *_, event, done, rest = self.body.split(b"\n\n")
        assert (done, rest) == (b"data: [DONE]", b"")
        return json.loads(event.removeprefix(b"data: "))["error"]


async def create_sleeping_deployment(world: World) -> RouteRecord:
    deployment = await world.deployment()
    await world.store.hset(contract.load_key(deployment.deployment_id), contract.ASLEEP, "1")
    return deployment


async def wake(world: World, deployment: RouteRecord) -> None:
    await world.store.hdel(contract.load_key(deployment.deployment_id), contract.ASLEEP)
    await world.published(contract.DEPLOYMENT_CHANGED, deployment.deployment_id)


async def test_the_openai_client_reads_a_stream_that_was_queued(world: World):
    deployment = await create_sleeping_deployment(world)
    client = world.client(await world.gateway())
    stream = await client.chat.completions.create(**chat("chunks=3", stream=True))  # the head comes while it waits
    assert await world.slots(deployment) == {}
    await world.replica(deployment)
    await wake(world, deployment)
    assert [chunk.choices[0].delta.content.split()[0] async for chunk in stream] == ["w0", "w1", "w2"]
    event = await world.event()
    assert stream.response.headers["x-request-id"] == request_ids.format_public_id(event.request_id)
    assert (event.outcome, event.output_tokens) == ("completed", 3)


async def test_comments_precede_the_bytes_of_the_engine(world: World):
    deployment = await create_sleeping_deployment(world)
    reader = Reader(world, await world.gateway())
    await reader.has(START)
    assert (reader.status, reader.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    await world.replica(deployment)
    await wake(world, deployment)
    await reader.task
    assert reader.body.startswith(START + b": hello\n\ndata: {")
    assert reader.body.endswith(b"data: [DONE]\n\n")


async def test_the_comment_of_a_stream_that_waits_for_a_slot(world: World):
    await world.replica(await world.deployment(), slots=1)
    url = await world.gateway()
    long = asyncio.create_task(world.post(url, chat("pause=1.5")))

    async def is_taken() -> bool:
        return not await world.is_idle()

    await until(is_taken)
    reader = Reader(world, url)
    await reader.task
    await long
    assert reader.body.startswith(SLOT)


async def test_a_cold_start_timeout_ends_a_queued_stream_with_an_error_event(world: World):
    await create_sleeping_deployment(world)
    client = world.client(await world.gateway(cold_start_seconds=1.3))
    with pytest.raises(openai.APIError) as caught:
        [chunk async for chunk in await client.chat.completions.create(**chat(stream=True))]
    assert caught.value.code == "cold_start_timeout"
    assert await world.events() == []


async def test_an_engine_error_is_an_error_event_in_a_stream_that_was_queued(world: World):
    deployment = await create_sleeping_deployment(world)
    reader = Reader(world, await world.gateway(), "status=422")
    await reader.has(START)
    await world.replica(deployment)
    await wake(world, deployment)
    await reader.task
    assert reader.error()["message"] == "engine says no"
    assert (await world.event()).outcome == "refused_upstream"


async def test_a_queued_stream_ends_with_an_error_event_after_the_drain_limit(world: World):
    await create_sleeping_deployment(world)
    url = await world.gateway(drain_seconds=0.1)
    reader = Reader(world, url)
    await reader.has(START)
    world.gateways[0].drain()
    await reader.task
    assert reader.error()["code"] == "service_unavailable"


async def test_a_retry_keeps_the_request_id_of_the_head_and_the_time_of_the_first_attempt(world: World):
    deployment = await create_sleeping_deployment(world)
    url = await world.gateway()
    reader = Reader(world, url)
    await reader.has(START)
    started = int(reader.headers["x-request-id"].removeprefix("req_")[:12], 16)
    dead = await world.announce(deployment, "127.0.0.1:9")
    await wake(world, deployment)

    async def was_tried() -> bool:
        return bool(await world.store.llen(contract.WAKEUPS) > 1)

    await until(was_tried)
    await world.store.hdel(contract.replicas_key(deployment.deployment_id), dead.replica_id)
    await world.replica(deployment)
    await reader.task
    event = await world.event()
    assert b"x-request-id" not in reader.body
    assert reader.headers["x-request-id"] == request_ids.format_public_id(event.request_id)
    assert round(event.admitted_at * 1000) == started
    assert event.finished_at > event.admitted_at + 1


async def test_a_head_sent_between_two_attempts_has_the_request_id_of_the_event(world: World):
    deployment = await world.deployment()
    dead = await world.announce(deployment, "127.0.0.1:9")
    reader = Reader(world, await world.gateway())
    await wait_until_queued(world, deployment, 1)  # the first attempt is over
    await world.store.hdel(contract.replicas_key(deployment.deployment_id), dead.replica_id)
    await reader.has(START)
    await world.replica(deployment)
    await reader.task
    assert reader.headers["x-request-id"] == request_ids.format_public_id((await world.event()).request_id)
    assert b"x-request-id" not in reader.body


async def test_a_client_that_disconnects_from_a_queued_stream_leaves_the_queue(world: World):
    deployment = await create_sleeping_deployment(world)
    url = await world.gateway()
    reader = Reader(world, url, "gone")
    await reader.has(START)
    reader.task.cancel()
    await wait_until_queued(world, deployment, 0)
    replica = await world.replica(deployment)
    await wake(world, deployment)
    assert (await world.post(url, chat("after")))[0] == 200
    assert [request["messages"][0]["content"] for request in replica.requests] == ["after"]
