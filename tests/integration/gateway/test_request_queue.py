"""The request queue: order, time limits, capacity, and the reports to the console."""

import asyncio
import time

import pytest

from gateway import contract
from gateway.contract import RouteRecord
from tests.integration.gateway.conftest import World, chat, until, wait_until_queued
from tests.integration.gateway.scripted_replica import ScriptedReplica


async def queue_requests(world: World, url: str, deployment: RouteRecord, count: int) -> list[asyncio.Task]:
    """Send `count` requests that are queued in a known order."""
    queues = world.gateways[0].components.queues
    tasks = []
    for number in range(count):
        tasks.append(asyncio.create_task(world.post(url, chat(f"number {number}"))))
        async with asyncio.timeout(8):
            while queues.count_waiting(deployment.deployment_id) <= number:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0)
    return tasks


def list_prompts(replica: ScriptedReplica) -> list[str]:
    return [request["messages"][0]["content"] for request in replica.requests]


async def wakeups(world: World) -> int:
    return await world.store.llen(contract.WAKEUPS)


async def load_of(world: World, deployment: RouteRecord) -> dict[str, str]:
    return await world.store.hgetall(contract.load_key(deployment.deployment_id))


async def wait_until_reported(world: World, deployment: RouteRecord, count: int) -> None:
    """Wait until the first gateway reports `count` queued requests; there is no report of 0."""
    field = contract.waiting_field(world.gateways[0].gateway_id)

    async def is_reported() -> bool:
        text = (await load_of(world, deployment)).get(field)
        return (contract.Waiting.from_json(text).count if text else 0) == count

    await until(is_reported)


async def test_the_wait_for_a_cold_start_does_not_count_as_waiting_for_a_slot(world: World):
    deployment = await world.deployment()
    url = await world.gateway(queue_seconds=0.6, cold_start_seconds=8)
    queues = world.gateways[0].components.queues
    tasks = [asyncio.create_task(world.post(url, chat("pause=0.1"))) for _ in range(3)]

    async def has_waited_longer_than_for_a_slot() -> bool:
        return queues.get_oldest_wait_seconds(deployment.deployment_id) > 0.8

    await until(has_waited_longer_than_for_a_slot)
    await world.replica(deployment, slots=1)
    assert [answer[0] for answer in await asyncio.gather(*tasks)] == [200] * 3


async def test_the_time_limit_for_a_slot_applies_after_a_cold_start(world: World):
    deployment = await world.deployment()
    url = await world.gateway(queue_seconds=0.4, cold_start_seconds=8)
    tasks = [asyncio.create_task(world.post(url, chat("pause=2"))) for _ in range(2)]
    await wait_until_queued(world, deployment, 2)
    await world.replica(deployment, slots=1)
    answers = sorted([(status, body) for status, _, body in await asyncio.gather(*tasks)])
    assert [status for status, _ in answers] == [200, 503]
    assert b"engine_overloaded" in answers[1][1]


async def test_two_hundred_queued_requests_are_served_in_order_though_a_quarter_disconnects(
    world: World,
):
    deployment = await world.deployment()
    await world.store.hset(contract.load_key(deployment.deployment_id), contract.ASLEEP, "1")
    url = await world.gateway(cold_start_seconds=60, queue_seconds=60)
    started = time.monotonic()
    tasks = await queue_requests(world, url, deployment, 200)
    await wait_until_reported(world, deployment, 200)
    for task in tasks[3::4]:
        task.cancel()
    await wait_until_queued(world, deployment, 150)
    await wait_until_reported(world, deployment, 150)
    assert await wakeups(world) <= 1 + (time.monotonic() - started) / 2
    assert contract.WAKE in await load_of(world, deployment)
    replica = await world.replica(deployment, slots=1)
    await world.store.hdel(contract.load_key(deployment.deployment_id), contract.ASLEEP)
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [answer[0] for answer in answers if isinstance(answer, tuple)] == [200] * 150
    assert list_prompts(replica) == [f"number {n}" for n in range(200) if n % 4 != 3]
    await wait_until_reported(world, deployment, 0)


async def test_a_wakeup_is_sent_when_a_queue_forms_and_again_while_it_exists(world: World):
    deployment = await world.deployment()
    url = await world.gateway()
    tasks = await queue_requests(world, url, deployment, 20)
    await wait_until_reported(world, deployment, 20)
    assert await wakeups(world) == 1

    async def woken_again() -> bool:
        return await wakeups(world) == 2

    await until(woken_again)
    for task in tasks:
        task.cancel()
    await wait_until_reported(world, deployment, 0)


async def test_a_report_contains_the_arrival_of_the_oldest_request(world: World):
    deployment = await world.deployment()
    url = await world.gateway()
    seconds, micros = await world.store.time()
    (task,) = await queue_requests(world, url, deployment, 1)
    await wait_until_reported(world, deployment, 1)
    load = await load_of(world, deployment)
    report = contract.Waiting.from_json(load[contract.waiting_field(world.gateways[0].gateway_id)])
    assert report.oldest_at == pytest.approx(seconds + micros / 1e6, abs=1)
    assert float(load[contract.ARRIVED]) / 1000 >= seconds
    task.cancel()
    await wait_until_reported(world, deployment, 0)


async def test_reports_of_a_dead_gateway_are_removed_when_it_is_reaped(world: World):
    deployment = await world.deployment()
    await world.gateway()
    await world.gateway()
    dead, living = world.gateways
    await dead.components.slots.report_waiting(deployment.deployment_id, 7, 1.5)
    await world.store.zincrby(contract.GATEWAYS, -contract.GATEWAY_DEAD_SECONDS, dead.gateway_id)
    await living.components.slots.reap(dead.gateway_id)
    assert await load_of(world, deployment) == {}
    assert not await world.store.exists(contract.gateway_waiting_key(dead.gateway_id))


async def test_a_gateway_that_stops_removes_its_reports(world: World):
    deployment = await world.deployment()
    url = await world.gateway(drain_seconds=0.1)
    (task,) = await queue_requests(world, url, deployment, 1)
    await wait_until_reported(world, deployment, 1)
    world.gateways[0].drain()
    assert (await task)[0] == 503
    await world.gateways[0].queue_reporter.stop()
    assert not [name for name in await load_of(world, deployment) if name.startswith(contract.WAITING)]


async def test_queued_requests_are_refused_after_the_drain_limit(world: World):
    deployment = await world.deployment()
    url = await world.gateway(drain_seconds=0.1)
    (task,) = await queue_requests(world, url, deployment, 1)
    world.gateways[0].drain()
    async with world.session.get(f"{url}/readyz") as ready:
        assert ready.status == 503
    status, headers, body = await task
    assert (status, b'"service_unavailable"' in body) == (503, True)
    assert 1 <= int(headers["retry-after"]) <= 120


async def test_the_size_of_all_queued_bodies_is_limited(world: World):
    first, second = await world.deployment("a"), await world.deployment("b")
    url = await world.gateway(queue_bytes=2500)
    tasks = [asyncio.create_task(world.post(url, chat("x" * 1000, model=name))) for name in ("a", "b")]
    await wait_until_queued(world, first, 1)
    await wait_until_queued(world, second, 1)
    status, _, body = await world.post(url, chat("x" * 1000, model="a"))
    assert (status, b"engine_overloaded" in body) == (503, True)
    for task in tasks:
        task.cancel()
    await wait_until_queued(world, first, 0)
    await wait_until_queued(world, second, 0)
    again = asyncio.create_task(world.post(url, chat("x" * 1000, model="a")))
    await wait_until_queued(world, first, 1)
    again.cancel()


TIMEOUTS = {"shorter": ("0.2", 503), "not at all": ("0", 503), "longer is cut": ("1000", 503), "seconds": ("soon", 400),
            "negative": ("-1", 400), "nothing": ("nan", 400)}  # fmt: skip


@pytest.mark.parametrize(("given", "status"), TIMEOUTS.values(), ids=TIMEOUTS.keys())
async def test_a_client_may_shorten_the_cold_start_timeout(world: World, given, status):
    await world.deployment()
    url = await world.gateway(cold_start_seconds=0.5 if given == "1000" else 60)
    got, headers, body = await world.post(url, chat(), **{"X-Scale-Up-Timeout": given})
    assert got == status
    assert (b'"cold_start_timeout"' in body) == (status == 503)
    assert status == 400 or 1 <= int(headers["retry-after"]) <= 120


async def test_a_request_that_lost_its_replica_keeps_its_place_in_the_queue(world: World):
    deployment = await world.deployment()
    dead = await world.announce(deployment, "127.0.0.1:9", slots=1)
    url = await world.gateway()
    tasks = await queue_requests(world, url, deployment, 4)
    await world.store.delete(contract.replicas_key(deployment.deployment_id))
    replica = await world.replica(deployment, slots=1)
    assert [answer[0] for answer in await asyncio.gather(*tasks)] == [200] * 4
    assert list_prompts(replica) == [f"number {n}" for n in range(4)]
    assert {event.replica_id for event in await world.events()}.isdisjoint({dead.replica_id})
