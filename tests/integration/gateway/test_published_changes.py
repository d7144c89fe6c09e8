"""What gateways know of published keys and routes: on demand, at once, and after Redis lost its data."""

import asyncio

import pytest

from gateway import contract, key_cache
from gateway.contract import KeyRecord
from gateway.store.client import StoreError, StoreUnavailable
from tests.integration.gateway.conftest import World, chat, secret, until
from tests.integration.gateway.store_proxy import proxied


async def find(keys: key_cache.KeyCache, key_hash: str) -> KeyRecord | None:
    """What the cache finds; raises StoreError."""
    future: asyncio.Future[key_cache.Found] = asyncio.get_running_loop().create_future()
    keys.find(key_hash, lambda found: None if future.done() else future.set_result(found))
    found = await future
    if isinstance(found, StoreError):
        raise found
    return found


def keys_of(world: World) -> key_cache.KeyCache:
    assert world.gateways[0].components
    return world.gateways[0].components.published.keys


async def calls_of(world: World, name: str) -> int:
    return int((await world.store.info("commandstats")).get(f"cmdstat_{name}", {"calls": 0})["calls"])


async def test_a_key_is_read_once_and_an_unknown_one_too(world: World):
    await world.gateway()
    keys = keys_of(world)
    before = await calls_of(world, "hget")
    for name, is_known in ((world.key, True), (secret(99), False)):
        for _ in range(5):
            found = await find(keys, contract.key_hash(name))
            assert isinstance(found, KeyRecord) == is_known
    assert await calls_of(world, "hget") - before == 2


async def test_a_key_that_changes_while_it_is_read_is_not_remembered(world: World):
    async with proxied(world.redis_url) as proxy:
        await world.gateway(redis_url=proxy.url)
        keys, name = keys_of(world), contract.key_hash(world.key)
        proxy.hold = name.encode()
        reading = asyncio.create_task(find(keys, name))
        await proxy.held.wait()
        keys.forget(name)
        proxy.release()
        assert await reading
        await world.store.hdel(contract.KEYS, name)
        assert await find(keys, name) is None


async def test_the_number_of_remembered_keys_is_bounded(world: World, monkeypatch):
    monkeypatch.setattr(key_cache, "MAX_KEYS", 3)
    monkeypatch.setattr(key_cache, "MAX_UNKNOWN", 3)
    await world.gateway()
    keys = keys_of(world)
    for number in range(2, 9):
        await find(keys, contract.key_hash(await world.add_key(number)))
        await find(keys, contract.key_hash(secret(1000 + number)))
    before = await calls_of(world, "hget")
    assert await find(keys, contract.key_hash(secret(8)))
    assert await find(keys, contract.key_hash(secret(1008))) is None
    assert await calls_of(world, "hget") == before
    assert await find(keys, contract.key_hash(secret(2)))
    assert await find(keys, contract.key_hash(secret(1002))) is None
    assert await calls_of(world, "hget") == before + 2


async def test_a_gap_in_the_stream_of_changes_has_everything_read_anew(world: World):
    await world.replica(await world.deployment())
    url = await world.gateway()
    assert (await world.post(url, chat()))[0] == 200
    await world.store.hdel(contract.KEYS, contract.key_hash(world.key))
    await world.store.xtrim(contract.CHANGES, maxlen=0)

    async def is_refused() -> bool:
        return (await world.post(url, chat()))[0] == 401

    await until(is_refused, 2.0)


async def test_keys_and_routes_that_redis_has_lost_stay_usable_until_they_are_published_again(world: World):
    deployment = await world.deployment()
    await world.announce(deployment, "127.0.0.1:9")
    url = await world.gateway(queue_seconds=0.2)
    assert (await world.post(url, chat()))[0] == 503  # its replica is away, but key and route are known
    key, route = world.key, deployment.deployment_id
    await world.store.flushdb()
    following = world.gateways[0].components.published

    async def was_noticed() -> bool:
        return following.position == "0-0"

    await until(was_noticed)
    status, _, body = await world.post(url, chat(), key=key)
    assert (status, b"cold_start_timeout" in body or b"upstream_lost" in body) == (503, True)
    with pytest.raises(StoreUnavailable):
        await find(keys_of(world), contract.key_hash(secret(77)))
    await world.store.hset(contract.ROUTES, route, deployment.to_json())
    await world.published(contract.KEY_CHANGED, contract.key_hash(secret(77)))

    async def is_unknown() -> bool:
        return (await world.post(url, chat(), key=key))[0] == 401

    await until(is_unknown)


async def test_a_new_replica_wakes_the_queue_at_once(world: World):
    deployment = await world.deployment()
    url = await world.gateway()
    task = asyncio.create_task(world.post(url, chat()))

    async def is_queued() -> bool:
        return world.gateways[0].components.queues.count_waiting(deployment.deployment_id) == 1

    await until(is_queued)
    started = asyncio.get_running_loop().time()
    await world.replica(deployment)
    assert (await task)[0] == 200
    assert asyncio.get_running_loop().time() - started < 0.9  # a queue that nobody wakes asks every second


async def test_no_revocation_is_skipped_while_redis_is_filled_again(world: World):
    await world.deployment()
    url = await world.gateway()
    assert (await world.post(url, chat(model="none")))[0] == 404
    following = world.gateways[0].components.published
    await world.store.delete(contract.PUBLISHED)
    await following.reload()
    async with world.store.pipeline(transaction=True) as pipeline:
        for number in range(600):
            pipeline.xadd(contract.CHANGES, {contract.KEY_CHANGED: contract.key_hash(secret(number + 1000))})
        pipeline.hdel(contract.KEYS, contract.key_hash(world.key))
        pipeline.xadd(contract.CHANGES, {contract.KEY_CHANGED: contract.key_hash(world.key)})
        await pipeline.execute()

    async def is_revoked() -> bool:
        return not keys_of(world).is_known(contract.key_hash(world.key))

    await until(is_revoked)
