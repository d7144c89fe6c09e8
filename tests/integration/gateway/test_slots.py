"""Slots: maximum concurrency across gateways, queueing, unreachable replicas."""

import asyncio
import time

import pytest

from console.machine.embedded_servers import find_free_port
from gateway import contract
from tests.integration.gateway.conftest import World, chat, served, until, wait_until_queued
from tests.integration.gateway.scripted_replica import ScriptedReplica


async def test_two_gateways_never_exceed_the_slots_of_a_replica(world: World):
    deployment = await world.deployment()
    replicas = [await world.replica(deployment, slots=3), await world.replica(deployment, slots=2)]
    urls = [await world.gateway(), await world.gateway()]
    answers = await asyncio.gather(
        *(world.post(urls[n % 2], chat("chunks=3 pause=0.01", stream=n % 3 > 0)) for n in range(80))
    )
    assert [status for status, _, _ in answers] == [200] * 80
    assert [replica.most for replica in replicas] == [3, 2]
    await until(world.is_idle)
    assert len({event.request_id for event in await world.events()}) == 80
    assert len(await world.events()) == 80
    assert await world.slots(deployment) == {}


async def test_requests_go_to_the_least_loaded_replica(world: World):
    deployment = await world.deployment()
    replicas = [await world.replica(deployment, slots=4) for _ in range(3)]
    url = await world.gateway()
    await asyncio.gather(*(world.post(url, chat("pause=0.3")) for _ in range(6)))
    assert [replica.most for replica in replicas] == [2, 2, 2]


async def test_a_draining_replica_gets_no_new_requests(world: World):
    deployment = await world.deployment()
    draining = await world.replica(deployment, draining=True)
    serving = await world.replica(deployment)
    url = await world.gateway()
    for _ in range(4):
        await world.post(url, chat())
    assert (len(draining.requests), len(serving.requests)) == (0, 4)


async def test_when_all_slots_stay_taken_the_request_is_refused_as_overloaded(world: World):
    await world.replica(await world.deployment(), slots=1)
    url = await world.gateway(queue_seconds=0.3)
    long = asyncio.create_task(world.post(url, chat("pause=1.5")))
    await until(_open(world))
    status, headers, body = await world.post(url, chat())
    assert status == 503
    assert b'"engine_overloaded"' in body
    assert 1 <= int(headers["retry-after"]) <= 120
    assert (await long)[0] == 200
    assert (await world.event()).status == 200


async def test_a_full_queue_refuses_at_once(world: World):
    await world.replica(await world.deployment(), slots=1)
    url = await world.gateway(queue_length=1)
    long = asyncio.create_task(world.post(url, chat("pause=1")))
    await until(_open(world))
    held = asyncio.create_task(world.post(url, chat()))
    queues = world.gateways[0].components.queues

    async def is_held():
        return any(queues.count_waiting(name) for name in await world.store.hkeys(contract.ROUTES))

    await until(is_held)
    status, _, body = await world.post(url, chat())
    assert (status, b"engine_overloaded" in body) == (503, True)
    assert [(await long)[0], (await held)[0]] == [200, 200]


async def test_queued_requests_are_served_in_order_once_a_replica_is_ready(world: World):
    deployment = await world.deployment()
    url = await world.gateway()
    queues = world.gateways[0].components.queues
    tasks = []
    for number in range(5):
        tasks.append(asyncio.create_task(world.post(url, chat(f"number {number}"))))

        async def is_held(count=number + 1):
            return queues.count_waiting(deployment.deployment_id) == count

        await until(is_held)
    replica = await world.replica(deployment, slots=1)
    assert [answer[0] for answer in await asyncio.gather(*tasks)] == [200] * 5
    assert [request["messages"][0]["content"] for request in replica.requests] == [f"number {n}" for n in range(5)]


async def test_when_nothing_becomes_ready_the_cold_start_times_out(world: World):
    await world.deployment()
    url = await world.gateway(cold_start_seconds=0.3)
    status, headers, body = await world.post(url, chat())
    assert (status, b'"cold_start_timeout"' in body) == (503, True)
    assert int(headers["retry-after"]) <= 120
    assert await world.events() == []


async def test_a_client_that_disconnects_while_queued_is_not_metered(world: World):
    deployment = await world.deployment()
    url = await world.gateway()
    task = asyncio.create_task(world.post(url, chat()))
    queues = world.gateways[0].components.queues

    async def is_held():
        return queues.count_waiting(deployment.deployment_id) == 1

    async def is_empty():
        return queues.count_waiting(deployment.deployment_id) == 0

    await until(is_held)
    task.cancel()
    await until(is_empty)
    replica = await world.replica(deployment)
    assert (await world.post(url, chat("after")))[0] == 200
    assert len(replica.requests) == 1
    assert (await world.event()).status == 200


async def test_queued_requests_of_a_deployment_that_fails_are_refused(world: World):
    deployment = await world.deployment()
    url = await world.gateway()
    task = asyncio.create_task(world.post(url, chat()))
    queues = world.gateways[0].components.queues

    async def is_held():
        return queues.count_waiting(deployment.deployment_id) == 1

    await until(is_held)
    await world.deployment(deployment_id=deployment.deployment_id, state="failed", reason="out of memory")
    status, headers, body = await task
    assert (status, headers["x-should-retry"]) == (503, "false")
    assert b"out of memory" in body
    assert b"deployment_failed" in body


async def test_an_unreachable_replica_is_not_metered_and_another_serves_the_request(world: World):
    deployment = await world.deployment()
    dead = await world.announce(deployment, "127.0.0.1:9", slots=100)
    replica = await world.replica(deployment, slots=1)
    url = await world.gateway()
    answers = [await world.post(url, chat("pause=0", stream=True)) for _ in range(24)]
    assert [status for status, _, _ in answers] == [200] * 24
    assert len(replica.requests) == 24
    await until(world.is_idle)
    assert {event.replica_id for event in await world.events()}.isdisjoint({dead.replica_id})
    assert len(await world.events()) == 24
    wakeups = await world.store.lrange(contract.WAKEUPS, 0, -1)  # 24 draws between two idle replicas never miss one
    assert contract.Wakeup(deployment.deployment_id).to_json() in wakeups


async def test_a_request_that_replicas_received_is_resent_at_most_twice(world: World):
    deployment = await world.deployment()
    seen = [await _hanging_up(world, deployment) for _ in range(4)]
    url = await world.gateway()
    status, _, body = await world.post(url, chat())
    assert (status, b"upstream_lost" in body) == (503, True)
    assert sorted(map(len, seen)) == [0, 1, 1, 1]
    event = await world.event()
    assert (event.outcome, event.input_tokens, event.output_tokens) == ("upstream_error", 0, 0)
    assert await world.slots(deployment) == {}


async def test_a_replica_that_fails_before_its_first_byte_is_not_metered_and_another_serves_the_request(world: World):
    deployment = await world.deployment()
    seen = await _hanging_up(world, deployment)
    url = await world.gateway()
    held_up = asyncio.create_task(world.post(url, chat(stream=True)))

    async def was_sent():
        return seen

    await until(was_sent)
    replica = await world.replica(deployment)
    status, headers, body = await held_up
    assert (status, body.endswith(b"data: [DONE]\n\n"), len(replica.requests)) == (200, True, 1)
    event = await world.event()
    assert (event.outcome, event.output_tokens) == ("completed", 3)
    assert headers["x-request-id"] == "req_" + event.request_id.replace("-", "")


async def test_a_request_that_no_replica_received_waits_until_one_is_reachable(world: World):
    deployment = await world.deployment()
    dead = await world.announce(deployment, "127.0.0.1:9")
    url = await world.gateway()
    task = asyncio.create_task(world.post(url, chat()))
    await wait_until_queued(world, deployment, 1)
    assert not await world.store.hexists(contract.load_key(deployment.deployment_id), contract.WAKE)
    await world.store.hdel(contract.replicas_key(deployment.deployment_id), dead.replica_id)
    replica = await world.replica(deployment)
    assert (await task)[0] == 200
    assert len(replica.requests) == 1
    assert (await world.event()).outcome == "completed"


async def test_a_request_is_refused_when_no_replica_is_reachable_within_the_queue_time(world: World):
    deployment = await world.deployment()
    await world.announce(deployment, "127.0.0.1:9")
    url = await world.gateway(queue_seconds=0.3)
    status, headers, body = await world.post(url, chat())
    assert (status, b"upstream_lost" in body) == (503, True)
    assert "retry-after" in headers
    assert await world.slots(deployment) == {}


async def test_a_replica_that_failed_once_is_retried_when_it_is_the_only_one(world: World):
    deployment = await world.deployment()
    port = find_free_port()
    await world.announce(deployment, f"127.0.0.1:{port}")
    url = await world.gateway()
    task = asyncio.create_task(world.post(url, chat()))
    await wait_until_queued(world, deployment, 1)
    replica = ScriptedReplica()
    await world.stack.enter_async_context(served(replica, port=port, lifespan="off", timeout_graceful_shutdown=1))
    assert (await task)[0] == 200
    assert len(replica.requests) == 1


async def test_an_engine_that_sends_nothing_times_out(world: World):
    await world.replica(await world.deployment())
    url = await world.gateway(upstream_seconds=0.3)
    started = time.monotonic()
    status, _, body = await world.post(url, chat("hang"))
    assert (status, b"upstream_timeout" in body) == (504, True)
    assert time.monotonic() - started < 3
    assert (await world.event()).input_tokens == 0


@pytest.mark.parametrize(("sent", "given"), [(400, 400), (404, 404), (409, 400), (422, 422), (500, 500), (503, 503)])
async def test_an_engine_error_is_normalized_and_not_metered(world: World, sent, given):
    await world.replica(await world.deployment())
    url = await world.gateway()
    status, headers, body = await world.post(url, chat(f"status={sent}", stream=True))
    assert status == given
    assert b'{"error":{"message":"engine says no"' in body
    assert headers["content-type"] == "application/json"
    event = await world.event()
    assert (event.input_tokens, event.output_tokens, event.status) == (0, 0, given)


def _open(world: World):
    async def has_open():
        return not await world.is_idle()

    return has_open


async def _hanging_up(world: World, deployment: contract.RouteRecord) -> list[bytes]:
    """Announce a replica that reads a request and closes the connection; returns the requests that it reads."""
    seen: list[bytes] = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read(65536))
        writer.close()

    server = await world.stack.enter_async_context(await asyncio.start_server(hang_up, "127.0.0.1", 0))
    await world.announce(deployment, f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    return seen
