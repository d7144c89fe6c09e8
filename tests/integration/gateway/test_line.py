"""The waiting room: who waits for what and for how long, in which order, within which bounds."""

import asyncio

from tests.integration.gateway.conftest import World, chat, held


async def test_the_wait_for_a_cold_start_does_not_count_as_waiting_for_a_slot(world: World):
    deployment = await world.deployment()
    url = await world.gateway(queue_seconds=0.6, cold_start_seconds=8)
    tasks = [asyncio.create_task(world.post(url, chat("pause=0.1"))) for _ in range(3)]
    await held(world, deployment, 3)
    await asyncio.sleep(0.8)  # longer than a wait for a slot may take
    await world.replica(deployment, slots=1)
    assert [answer[0] for answer in await asyncio.gather(*tasks)] == [200] * 3
