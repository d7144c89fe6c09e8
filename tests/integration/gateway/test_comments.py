"""Streams that wait: comments that every client skips, one request id, and never a silent end."""

import asyncio
import json

import openai
import pytest

from gateway import contract, identifiers
from gateway.contract import RouteRecord
from tests.integration.gateway.conftest import World, chat, held, until

START = b": waiting for a replica to start\n\n"
SLOT = b": waiting for a free slot\n\n"


class Reader:
    """A stream as it arrives, byte for byte."""

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
        """The error event with which it ended."""
        *_, event, done, rest = self.body.split(b"\n\n")
        assert (done, rest) == (b"data: [DONE]", b"")
        return json.loads(event.removeprefix(b"data: "))["error"]


async def asleep(world: World) -> RouteRecord:
    deployment = await world.deployment()
    await world.store.hset(contract.load_key(deployment.deployment_id), contract.ASLEEP, "1")
    return deployment


async def wake(world: World, deployment: RouteRecord) -> None:
    await world.store.hdel(contract.load_key(deployment.deployment_id), contract.ASLEEP)


async def test_the_official_client_reads_a_stream_that_had_to_wait(world: World):
    deployment = await asleep(world)
    client = world.client(await world.gateway())
    stream = await client.chat.completions.create(**chat("chunks=3", stream=True))  # the head comes while it waits
    assert await world.slots(deployment) == {}
    await world.replica(deployment)
    await wake(world, deployment)
    assert [chunk.choices[0].delta.content.split()[0] async for chunk in stream] == ["w0", "w1", "w2"]
    event = await world.event()
    assert stream.response.headers["x-request-id"] == identifiers.public(event.request_id)
    assert (event.outcome, event.output_tokens) == ("completed", 3)


async def test_comments_come_first_and_then_the_engines_own_bytes(world: World):
    deployment = await asleep(world)
    reader = Reader(world, await world.gateway())
    await reader.has(START)
    assert (reader.status, reader.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    await world.replica(deployment)
    await wake(world, deployment)
    await reader.task
    assert reader.body.startswith(START + b": hello\n\ndata: {")
    assert reader.body.endswith(b"data: [DONE]\n\n")


async def test_a_stream_that_waits_for_a_slot_is_told_so(world: World):
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


async def test_a_start_that_takes_too_long_ends_a_waiting_stream_in_an_error_event(world: World):
    await asleep(world)
    client = world.client(await world.gateway(cold_start_seconds=1.3))
    with pytest.raises(openai.APIError) as caught:
        [chunk async for chunk in await client.chat.completions.create(**chat(stream=True))]
    assert caught.value.code == "cold_start_timeout"
    assert await world.events() == []


async def test_what_the_engine_refuses_is_an_error_event_in_a_stream_that_had_to_wait(world: World):
    deployment = await asleep(world)
    reader = Reader(world, await world.gateway(), "status=422")
    await reader.has(START)
    await world.replica(deployment)
    await wake(world, deployment)
    await reader.task
    assert reader.error()["message"] == "engine says no"
    assert (await world.event()).outcome == "refused_upstream"


async def test_a_waiting_stream_ends_in_an_error_event_when_the_drain_limit_has_passed(world: World):
    await asleep(world)
    url = await world.gateway(drain_seconds=0.1)
    reader = Reader(world, url)
    await reader.has(START)
    world.gateways[0].drain()
    await reader.task
    assert reader.error()["code"] == "service_unavailable"


async def test_a_stream_that_is_sent_again_after_its_head_went_out_is_told_its_new_id(world: World):
    deployment = await asleep(world)
    url = await world.gateway()
    reader = Reader(world, url)
    await reader.has(START)
    dead = await world.announce(deployment, "127.0.0.1:9")
    await wake(world, deployment)

    async def was_tried() -> bool:
        return bool(await world.store.llen(contract.HINTS) > 1)

    await until(was_tried)
    await world.store.hdel(contract.replicas_key(deployment.deployment_id), dead.replica_id)
    await world.replica(deployment)
    await reader.task
    event = await world.event()
    told = f": x-request-id: {identifiers.public(event.request_id)}\n\n".encode()
    assert told in reader.body
    assert reader.headers["x-request-id"] != identifiers.public(event.request_id)


async def test_a_stream_whose_head_goes_out_between_two_attempts_has_the_id_of_the_second(world: World):
    deployment = await world.deployment()
    dead = await world.announce(deployment, "127.0.0.1:9")
    reader = Reader(world, await world.gateway())
    await held(world, deployment, 1)  # the first attempt is over
    await world.store.hdel(contract.replicas_key(deployment.deployment_id), dead.replica_id)
    await reader.has(START)
    await world.replica(deployment)
    await reader.task
    assert reader.headers["x-request-id"] == identifiers.public((await world.event()).request_id)
    assert b"x-request-id" not in reader.body


async def test_a_caller_that_leaves_a_waiting_stream_leaves_the_line_and_never_reaches_the_engine(world: World):
    deployment = await asleep(world)
    url = await world.gateway()
    reader = Reader(world, url, "gone")
    await reader.has(START)
    reader.task.cancel()
    await held(world, deployment, 0)
    replica = await world.replica(deployment)
    await wake(world, deployment)
    assert (await world.post(url, chat("after")))[0] == 200
    assert [one["messages"][0]["content"] for one in replica.requests] == ["after"]
