"""The waiting room: who waits for what and for how long, in which order, within which bounds."""

import asyncio
import time

import pytest

from gateway import contract
from gateway.contract import RouteRecord
from tests.integration.gateway.conftest import World, chat, held, until
from tests.integration.gateway.upstream import Replica


async def line_up(world: World, url: str, deployment: RouteRecord, count: int) -> list[asyncio.Task]:
    """So many requests in a known order."""
    room = world.gateways[0].parts.waiting
    tasks = []
    for number in range(count):
        tasks.append(asyncio.create_task(world.post(url, chat(f"number {number}"))))
        async with asyncio.timeout(8):
            while room.waiting(deployment.deployment_id) <= number:  # noqa: ASYNC110 - the room has no event for tests
                await asyncio.sleep(0)
    return tasks


def answered(replica: Replica) -> list[str]:
    return [one["messages"][0]["content"] for one in replica.requests]


async def hints(world: World) -> int:
    return await world.store.llen(contract.HINTS)


async def load_of(world: World, deployment: RouteRecord) -> dict[str, str]:
    return await world.store.hgetall(contract.load_key(deployment.deployment_id))


async def reported(world: World, deployment: RouteRecord, count: int) -> None:
    """Wait until Redis says that the first gateway holds so many; 0 is said by saying nothing."""
    field = contract.waiting_field(world.gateways[0].gateway_id)

    async def is_said() -> bool:
        text = (await load_of(world, deployment)).get(field)
        return (contract.Waiting.from_json(text).count if text else 0) == count

    await until(is_said)


async def test_the_wait_for_a_cold_start_does_not_count_as_waiting_for_a_slot(world: World):
    deployment = await world.deployment()
    url = await world.gateway(queue_seconds=0.6, cold_start_seconds=8)
    room = world.gateways[0].parts.waiting
    tasks = [asyncio.create_task(world.post(url, chat("pause=0.1"))) for _ in range(3)]

    async def has_waited_longer_than_for_a_slot() -> bool:
        return room.oldest_seconds(deployment.deployment_id) > 0.8

    await until(has_waited_longer_than_for_a_slot)
    await world.replica(deployment, slots=1)
    assert [answer[0] for answer in await asyncio.gather(*tasks)] == [200] * 3


async def test_a_line_that_waits_for_slots_still_has_its_limit_after_a_cold_start(world: World):
    deployment = await world.deployment()
    url = await world.gateway(queue_seconds=0.4, cold_start_seconds=8)
    tasks = [asyncio.create_task(world.post(url, chat("pause=2"))) for _ in range(2)]
    await held(world, deployment, 2)
    await world.replica(deployment, slots=1)
    answers = sorted([(status, body) for status, _, body in await asyncio.gather(*tasks)])
    assert [status for status, _ in answers] == [200, 503]
    assert b"engine_overloaded" in answers[1][1]


async def test_two_hundred_held_requests_are_answered_in_order_though_a_quarter_leaves(
    world: World,
):
    deployment = await world.deployment()
    await world.store.hset(contract.load_key(deployment.deployment_id), contract.ASLEEP, "1")
    url = await world.gateway(cold_start_seconds=60, queue_seconds=60)
    started = time.monotonic()
    tasks = await line_up(world, url, deployment, 200)
    await reported(world, deployment, 200)
    for task in tasks[3::4]:
        task.cancel()
    await held(world, deployment, 150)
    await reported(world, deployment, 150)
    assert await hints(world) <= 1 + (time.monotonic() - started) / 2
    assert contract.WAKE in await load_of(world, deployment)
    replica = await world.replica(deployment, slots=1)
    await world.store.hdel(contract.load_key(deployment.deployment_id), contract.ASLEEP)
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [answer[0] for answer in answers if isinstance(answer, tuple)] == [200] * 150
    assert answered(replica) == [f"number {n}" for n in range(200) if n % 4 != 3]
    await reported(world, deployment, 0)


async def test_one_hint_goes_out_when_a_line_forms_and_another_while_it_stays(world: World):
    deployment = await world.deployment()
    url = await world.gateway()
    tasks = await line_up(world, url, deployment, 20)
    await reported(world, deployment, 20)
    assert await hints(world) == 1

    async def hinted_again() -> bool:
        return await hints(world) == 2

    await until(hinted_again)
    for task in tasks:
        task.cancel()
    await reported(world, deployment, 0)


async def test_what_a_gateway_holds_is_said_with_the_moment_at_which_the_first_came(world: World):
    deployment = await world.deployment()
    url = await world.gateway()
    seconds, micros = await world.store.time()
    (task,) = await line_up(world, url, deployment, 1)
    await reported(world, deployment, 1)
    load = await load_of(world, deployment)
    said = contract.Waiting.from_json(load[contract.waiting_field(world.gateways[0].gateway_id)])
    assert said.oldest_at == pytest.approx(seconds + micros / 1e6, abs=1)
    assert float(load[contract.ARRIVED]) / 1000 >= seconds
    task.cancel()
    await reported(world, deployment, 0)


async def test_what_a_dead_gateway_said_is_taken_back_by_the_reaper(world: World):
    deployment = await world.deployment()
    await world.gateway()
    await world.gateway()
    dead, living = world.gateways
    await dead.parts.limits.report(deployment.deployment_id, 7, 1.5)
    await world.store.zincrby(contract.GATEWAYS, -contract.GATEWAY_DEAD_SECONDS, dead.gateway_id)
    await living.parts.limits.reap(dead.gateway_id)
    assert await load_of(world, deployment) == {}
    assert not await world.store.exists(contract.gateway_waiting_key(dead.gateway_id))


async def test_a_gateway_that_stops_takes_back_what_it_said(world: World):
    deployment = await world.deployment()
    url = await world.gateway(drain_seconds=0.1)
    (task,) = await line_up(world, url, deployment, 1)
    await reported(world, deployment, 1)
    world.gateways[0].drain()
    assert (await task)[0] == 503
    await world.gateways[0].reports.finish()
    assert not [name for name in await load_of(world, deployment) if name.startswith(contract.WAITING)]


async def test_requests_that_still_wait_when_the_drain_limit_has_passed_are_refused(world: World):
    deployment = await world.deployment()
    url = await world.gateway(drain_seconds=0.1)
    (task,) = await line_up(world, url, deployment, 1)
    world.gateways[0].drain()
    async with world.session.get(f"{url}/readyz") as ready:
        assert ready.status == 503
    status, headers, body = await task
    assert (status, b'"service_unavailable"' in body) == (503, True)
    assert 1 <= int(headers["retry-after"]) <= 120


async def test_held_bodies_have_a_limit_for_all_lines_together(world: World):
    first, second = await world.deployment("a"), await world.deployment("b")
    url = await world.gateway(queue_bytes=2500)
    tasks = [asyncio.create_task(world.post(url, chat("x" * 1000, model=name))) for name in ("a", "b")]
    await held(world, first, 1)
    await held(world, second, 1)
    status, _, body = await world.post(url, chat("x" * 1000, model="a"))
    assert (status, b"engine_overloaded" in body) == (503, True)
    for task in tasks:
        task.cancel()
    await held(world, first, 0)
    await held(world, second, 0)
    again = asyncio.create_task(world.post(url, chat("x" * 1000, model="a")))
    await held(world, first, 1)
    again.cancel()


PATIENCE = {"shorter": ("0.2", 503), "not at all": ("0", 503), "longer is cut": ("1000", 503), "seconds": ("soon", 400),
            "negative": ("-1", 400), "nothing": ("nan", 400)}  # fmt: skip


@pytest.mark.parametrize(("given", "status"), PATIENCE.values(), ids=PATIENCE.keys())
async def test_a_caller_may_shorten_the_wait_for_a_start(world: World, given, status):
    await world.deployment()
    url = await world.gateway(cold_start_seconds=0.5 if given == "1000" else 60)
    got, headers, body = await world.post(url, chat(), **{"X-Scale-Up-Timeout": given})
    assert got == status
    assert (b'"cold_start_timeout"' in body) == (status == 503)
    assert status == 400 or 1 <= int(headers["retry-after"]) <= 120


async def test_a_request_that_lost_its_replica_keeps_its_place(world: World):
    deployment = await world.deployment()
    dead = await world.announce(deployment, "127.0.0.1:9", slots=1)
    url = await world.gateway()
    tasks = await line_up(world, url, deployment, 4)
    await world.store.delete(contract.replicas_key(deployment.deployment_id))
    replica = await world.replica(deployment, slots=1)
    assert [answer[0] for answer in await asyncio.gather(*tasks)] == [200] * 4
    assert answered(replica) == [f"number {n}" for n in range(4)]
    assert {event.replica_id for event in await world.events()}.isdisjoint({dead.replica_id})
