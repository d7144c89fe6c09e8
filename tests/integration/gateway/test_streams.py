"""Responses byte for byte, and their usage events."""

import asyncio
import json

import pytest

from gateway import contract
from tests.integration.gateway import scripted_replica
from tests.integration.gateway.conftest import World, chat, until, wait_until_queued

OPTIONS = {
    "no options": None,
    "usage refused": {"include_usage": False},
    "usage": {"include_usage": True},
    "cumulative usage": {"include_usage": True, "continuous_usage_stats": True},
    "cumulative without usage": {"continuous_usage_stats": True},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("prompt", ["chunks=5", "chunks=5 crlf"], ids=["lf", "crlf"])
async def test_a_stream_has_the_bytes_that_the_engine_sends_for_the_clients_own_options(world: World, options, prompt):
    url = await world.gateway()
    replica = await world.replica(await world.deployment())
    more = {"stream_options": options} if options is not None else {}
    status, headers, body = await world.post(url, chat(prompt, stream=True, **more))
    native = options or {}
    if not native.get("include_usage"):
        native = {}
    assert body == b"".join(scripted_replica.build_stream(native, 5, crlf="crlf" in prompt))
    assert status == 200
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["x-accel-buffering"] == "no"
    assert replica.requests[0]["stream_options"]["continuous_usage_stats"] is True
    event = await world.event()
    assert (event.input_tokens, event.cached_input_tokens, event.output_tokens) == (7, 2, 5)
    assert (event.outcome, event.status, event.estimated) == ("completed", 200, False)
    assert event.ttft_seconds is not None


async def test_a_body_without_stream_reaches_the_engine_byte_for_byte_and_is_metered_by_its_usage(world: World):
    url = await world.gateway()
    replica = await world.replica(await world.deployment())
    body = b'{"model":"chat",  "messages":[{"role":"user","content":"chunks=4"}],"seed":1e2,"ignore_eos":true}'
    status, headers, answer = await world.post(url, body)
    assert (status, json.loads(answer)["usage"]["completion_tokens"]) == (200, 4)
    assert replica.headers[0]["content-length"] == str(len(body))
    assert "authorization" not in replica.headers[0]
    event = await world.event()
    assert (event.output_tokens, event.stream, event.ttft_seconds) == (4, False, None)
    assert headers["x-request-id"] == "req_" + event.request_id.replace("-", "")


async def test_the_request_id_is_a_uuid7_of_the_admission_and_never_the_clients_own(world: World):
    url = await world.gateway()
    replica = await world.replica(await world.deployment())
    _, headers, _ = await world.post(url, chat(), **{"X-Request-ID": "theirs"})
    event = await world.event()
    assert replica.headers[0]["x-request-id"] == event.request_id
    assert int(event.request_id.replace("-", "")[:12], 16) == round(event.admitted_at * 1000)
    assert event.request_id[14] == "7"
    assert headers["x-client-request-id"] == "theirs"
    assert headers["openai-version"] == "2020-10-01"
    assert headers["openai-organization"] == "acme"
    assert int(headers["openai-processing-ms"]) >= 0
    assert event.finished_at >= event.admitted_at


async def test_a_client_that_disconnects_cancels_the_engine_and_is_metered_by_the_last_usage(world: World):
    url = await world.gateway()
    deployment = await world.deployment()
    replica = await world.replica(deployment)
    stream = await world.client(url).chat.completions.create(**chat("chunks=500 pause=0.01", stream=True))
    async for chunk in stream:
        if chunk.choices[0].delta.content.startswith("w3"):
            break
    await stream.close()
    event = await world.event()
    assert (event.outcome, event.status, event.estimated) == ("client_left", 499, False)
    assert 4 <= event.output_tokens < 100
    assert event.input_tokens == 7

    async def cancelled():
        return replica.cancelled

    await until(cancelled)
    assert await world.slots(deployment) == {}


async def test_without_usage_the_chunks_are_counted_as_an_estimate(world: World):
    url = await world.gateway()
    await world.replica(await world.deployment())
    await world.post(url, chat("chunks=6 silent", stream=True))
    event = await world.event()
    assert (event.output_tokens, event.estimated) == (6, True)
    assert event.input_tokens == 4


@pytest.mark.parametrize("chunks", [1, 2, 4])
async def test_an_engine_that_fails_during_a_stream_ends_it_with_an_error_event(world: World, chunks):
    url = await world.gateway()
    deployment = await world.deployment()
    replicas = [await world.replica(deployment), await world.replica(deployment)]
    status, _, body = await world.post(url, chat(f"chunks=5 die={chunks}", stream=True))
    events = body.split(b"\n\n")
    assert status == 200
    assert events[-2:] == [b"data: [DONE]", b""]
    error = json.loads(events[-3].removeprefix(b"data: "))["error"]
    assert (error["code"], error["type"]) == ("upstream_lost", "server_error")
    assert sum(len(replica.requests) for replica in replicas) == 1
    event = await world.event()
    assert (event.outcome, event.output_tokens, event.estimated) == ("upstream_error", chunks, False)


async def test_a_slow_client_does_not_make_the_gateway_buffer_the_response(world: World):
    url = await world.gateway(client_stall_seconds=0.5)
    replica = await world.replica(await world.deployment())
    assert world.session
    headers = {"authorization": f"Bearer {world.key}"}
    response = await world.session.post(
        f"{url}/v1/chat/completions", json=chat("chunks=4000 fat=20000", stream=True), headers=headers
    )

    async def left():
        return await world.events()

    (event,) = await until(left, 20)
    response.close()
    assert event.outcome == "client_left"
    assert event.output_tokens < 4000
    assert replica.most == 1


@pytest.mark.parametrize(
    ("reporting", "options", "counts"),
    [("none", None, (2, 6, True)), ("last_chunk", {"include_usage": True}, (7, 6, False))],
)
async def test_an_engine_is_asked_only_for_the_usage_that_it_can_report(world: World, reporting, options, counts):
    url = await world.gateway()
    replica = await world.replica(await world.deployment(usage_reporting=reporting))
    _, _, body = await world.post(url, chat("chunks=6", stream=True))
    assert body == b"".join(scripted_replica.build_stream({}, 6))
    assert replica.requests[0].get("stream_options") == options
    event = await world.event()
    assert (event.input_tokens, event.output_tokens, event.estimated) == counts


async def test_the_latency_of_a_stream_and_of_a_whole_response(world: World):
    url = await world.gateway()
    await world.replica(await world.deployment())
    await world.post(url, chat("chunks=3 pause=0.05", stream=True))
    event = await world.event()
    assert event.ttft_seconds is not None
    assert event.itl_mean_seconds is not None
    assert event.itl_p99_seconds is not None
    assert 0.04 < event.itl_mean_seconds <= event.itl_p99_seconds
    assert event.ttft_seconds + 2 * event.itl_mean_seconds < event.finished_at - event.admitted_at + 0.5
    assert (event.queue_seconds, event.cold) == (0, False)


async def test_the_time_in_the_queue_is_measured_and_a_cold_start_is_marked(world: World):
    url = await world.gateway()
    deployment = await world.deployment()
    cold = asyncio.create_task(world.post(url, chat("chunks=1")))
    await wait_until_queued(world, deployment, 1)
    await world.replica(deployment, slots=1)
    await cold
    event = await world.event()
    assert event.cold is True
    assert event.queue_seconds is not None
    assert event.queue_seconds > 0

    await world.store.delete(contract.USAGE)
    first = asyncio.create_task(world.post(url, chat("pause=0.3")))
    await until(lambda: world.slots(deployment))
    second = asyncio.create_task(world.post(url, chat("chunks=2")))
    await asyncio.gather(first, second)
    await until(world.is_idle)
    events = sorted(await world.events(), key=lambda event: event.queue_seconds or 0.0)
    assert [event.cold for event in events] == [False, False]
    assert (events[0].queue_seconds, (events[1].queue_seconds or 0) > 0.05) == (0, True)
