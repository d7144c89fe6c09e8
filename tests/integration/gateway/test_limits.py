"""Limits of requests and tokens per minute, through gateways, replicas and Valkey."""

import asyncio
import json
import re

import openai
import pytest

from gateway import contract
from gateway.contract import API_KEY, ORGANIZATION, REQUESTS, TOKENS, USER
from gateway.rate_limits import Limit, Reservation
from gateway.slots import Admission
from tests.integration.gateway import conftest
from tests.integration.gateway.conftest import World, chat, until, wait_until_queued
from tests.integration.gateway.scripted_replica import INPUT_TOKENS


def per_minute(requests=None, tokens=None):
    given = {"requests_per_minute": requests, "tokens_per_minute": tokens}
    return {name: value for name, value in given.items() if value is not None}


async def counts(world: World) -> dict[str, int]:
    """What each counter counts now, by the end of its key: `scope:level:…:unit`."""
    store = world.store
    seconds, microseconds = await store.time()
    milliseconds = seconds * 1000 + microseconds // 1000
    raw = conftest.redis.asyncio.Redis.from_url(world.redis_url)
    found = {}
    async for key in raw.scan_iter("mc:limit:*"):
        scope, level, *_, unit = key.decode().removeprefix("mc:limit:").split(":")
        name = f"{'all' if scope == contract.ALL_DEPLOYMENTS else 'deployment'} {level} {unit}"
        found[name] = found.get(name, 0) + contract.read_counter(await raw.get(key), milliseconds)[0]
    await raw.aclose()
    return found


async def reservations(world: World) -> int:
    keys = [key async for key in world.store.scan_iter(contract.gateway_reservations_key("*"))]
    return sum([await world.store.hlen(key) for key in keys])


async def until_settled(world: World):
    async def is_settled():
        return await world.is_idle() and not await reservations(world)

    await until(is_settled)


async def test_a_request_above_a_limit_is_refused_with_level_limit_use_and_reset(world: World):
    await world.replica(await world.deployment(limits={ORGANIZATION: per_minute(requests=2)}))
    url = await world.gateway()
    first, second, third = [await world.post(url, chat()) for _ in range(3)]
    assert [first[0], second[0], third[0]] == [200, 200, 429]
    assert [answer[1]["x-ratelimit-remaining-requests"] for answer in (first, second, third)] == ["1", "0", "0"]
    assert {answer[1]["x-ratelimit-limit-requests"] for answer in (first, second, third)} == {"2"}
    assert "x-ratelimit-limit-tokens" not in first[1]
    assert re.fullmatch(r"1m0(\.\d{1,3})?s", first[1]["x-ratelimit-reset-requests"])
    error = json.loads(third[2])["error"]
    assert (error["type"], error["code"], error["param"]) == ("requests", "rate_limit_exceeded", None)
    for word in (
        "your organization",
        "this deployment",
        "2 requests per minute",
        "2 used",
        "1 requested",
        "Try again in",
    ):
        assert word in error["message"]
    milliseconds = int(third[1]["retry-after-ms"])
    assert 50_000 < milliseconds <= 60_250
    assert int(third[1]["retry-after"]) == -(-milliseconds // 1000)


async def test_the_client_of_openai_raises_its_rate_limit_error(world: World):
    await world.replica(await world.deployment(limits={API_KEY: per_minute(requests=1)}))
    client = world.client(await world.gateway())
    raw = await client.chat.completions.with_raw_response.create(**chat())
    assert raw.headers["x-ratelimit-remaining-requests"] == "0"
    with pytest.raises(openai.RateLimitError) as error:
        await client.chat.completions.create(**chat())
    assert (error.value.type, error.value.code) == ("requests", "rate_limit_exceeded")


async def test_without_limits_there_are_no_counters_and_no_headers(world: World):
    await world.replica(await world.deployment())
    status, headers, _ = await world.post(await world.gateway(), chat())
    assert status == 200
    assert not [name for name in headers if name.lower().startswith("x-ratelimit")]
    assert await counts(world) == {}


async def test_a_refusal_at_one_level_consumes_nothing_at_the_others(world: World):
    limits = {
        ORGANIZATION: per_minute(requests=10, tokens=1000),
        USER: per_minute(requests=10, tokens=1000),
        API_KEY: per_minute(requests=1, tokens=1000),
    }
    deployment = await world.deployment(limits=limits)
    key = await world.add_key(2, limits={ORGANIZATION: per_minute(tokens=5000)})
    await world.replica(deployment)
    url = await world.gateway()
    assert (await world.post(url, chat(max_tokens=5), key))[0] == 200
    await until_settled(world)
    before = await counts(world)
    load = await world.store.hgetall(contract.load_key(deployment.deployment_id))
    assert len(before) == 7
    status, _, body = await world.post(url, chat(max_tokens=5), key)
    assert status == 429
    assert "this API key" in json.loads(body)["error"]["message"]
    assert await counts(world) == before
    assert await world.store.hgetall(contract.load_key(deployment.deployment_id)) == load, "nor is it an arrival"


async def test_each_user_and_key_has_its_own_counters_and_the_organization_the_sum(world: World):
    limits = {ORGANIZATION: per_minute(requests=3), USER: per_minute(requests=2), API_KEY: per_minute(requests=1)}
    await world.replica(await world.deployment(limits=limits))
    same_user = "0f3c1d2e-1111-4222-8333-444455556666"
    keys = [await world.add_key(number, user_id=same_user) for number in (2, 3, 4)] + [await world.add_key(5)]
    keys.append(await world.add_key(6))
    url = await world.gateway()
    refused = []
    for key in keys:
        status, _, body = await world.post(url, chat(), key)
        refused.append("" if status == 200 else json.loads(body)["error"]["message"].split(" on ")[0].split("for ")[1])
    assert refused == ["", "", "your user", "", "your organization"]


async def test_the_limit_across_all_deployments_counts_them_together(world: World):
    for name in ("chat", "other"):
        await world.replica(await world.deployment(name))
    key = await world.add_key(2, limits={ORGANIZATION: per_minute(requests=2)})
    url = await world.gateway()
    answers = [await world.post(url, chat(model=name), key) for name in ("chat", "other", "chat", "other")]
    assert [answer[0] for answer in answers] == [200, 200, 429, 429]
    assert "all deployments" in json.loads(answers[2][2])["error"]["message"]


async def test_parallel_requests_never_reserve_more_tokens_than_the_limit(world: World):
    deployment = await world.deployment(limits={API_KEY: per_minute(tokens=100)})
    await world.replica(deployment)
    urls = [await world.gateway(), await world.gateway()]
    too_large = await asyncio.gather(*(world.post(urls[0], chat(max_tokens=175)) for _ in range(5)))
    assert {status for status, _, _ in too_large} == {422}
    answers = await asyncio.gather(
        *(world.post(urls[number % 2], chat("pause=0.3 chunks=20", max_tokens=20)) for number in range(40))
    )
    statuses = [status for status, _, _ in answers]
    assert set(statuses) == {200, 429}
    await until_settled(world)
    events = await world.events()
    used = sum(event.input_tokens + event.output_tokens for event in events)
    assert len(events) == statuses.count(200) >= 2
    assert used <= 100
    assert (await counts(world))["deployment api_key tokens"] == used


async def test_the_real_count_takes_the_place_of_the_reserved_one(world: World):
    await world.replica(await world.deployment(limits={USER: per_minute(tokens=5000)}))
    url = await world.gateway()
    for stream in (False, True):
        status, headers, _ = await world.post(url, chat("chunks=3", stream=stream, max_tokens=900))
        assert status == 200
        assert int(headers["x-ratelimit-remaining-tokens"]) <= 5000 - 900
    await until_settled(world)
    assert await counts(world) == {"deployment user tokens": 2 * (INPUT_TOKENS + 3)}


async def test_a_request_that_the_engine_refuses_gives_its_tokens_back_but_was_a_request(world: World):
    await world.replica(await world.deployment(limits={USER: per_minute(requests=9, tokens=5000)}))
    url = await world.gateway()
    assert (await world.post(url, chat("status=400", max_tokens=900)))[0] == 400
    await until_settled(world)
    assert await counts(world) == {"deployment user requests": 1, "deployment user tokens": 0}


async def test_a_request_that_never_gets_a_slot_gives_everything_back(world: World):
    deployment = await world.deployment(limits={USER: per_minute(requests=9, tokens=5000)})
    url = await world.gateway(cold_start_seconds=0.3)
    assert (await world.post(url, chat()))[0] == 503
    await until_settled(world)
    assert await counts(world) == {"deployment user requests": 0, "deployment user tokens": 0}
    await world.announce(deployment, "127.0.0.1:9")
    assert (await world.post(await world.gateway(queue_seconds=0.3), chat()))[0] == 503
    await until_settled(world)
    assert await counts(world) == {"deployment user requests": 0, "deployment user tokens": 0}


async def test_a_client_that_leaves_the_queue_gives_its_reservation_back(world: World):
    deployment = await world.deployment(limits={USER: per_minute(requests=9, tokens=5000)})
    waiting = asyncio.create_task(world.post(await world.gateway(), chat()))
    await wait_until_queued(world, deployment, 1)
    assert (await counts(world))["deployment user requests"] == 1
    waiting.cancel()
    await until_settled(world)
    assert await counts(world) == {"deployment user requests": 0, "deployment user tokens": 0}


async def test_a_request_that_waits_is_reserved_once(world: World):
    deployment = await world.deployment(limits={USER: per_minute(requests=9, tokens=5000)})
    waiting = asyncio.create_task(world.post(await world.gateway(), chat()))
    await wait_until_queued(world, deployment, 1)
    await world.announce(deployment, "127.0.0.1:9")  # an attempt that fails
    await world.replica(deployment)
    assert (await waiting)[0] == 200
    await until_settled(world)
    assert await counts(world) == {"deployment user requests": 1, "deployment user tokens": INPUT_TOKENS + 3}


async def test_without_a_cap_in_the_request_one_is_sent_upstream_while_tokens_are_limited(world: World):
    deployment = await world.deployment(limits={USER: per_minute(tokens=5000)}, context_length=100_000)
    replica = await world.replica(deployment)
    unlimited = await world.replica(await world.deployment("free"))
    small = await world.deployment("small", limits={USER: per_minute(tokens=50)})
    small_replica = await world.replica(small)
    url = await world.gateway(default_output_tokens=1024)
    await world.post(url, chat())
    await world.post(url, chat(max_completion_tokens=7))
    await world.post(url, chat(model="free"))
    await world.post(url, chat(model="small"))
    assert [request.get("max_tokens") for request in replica.requests] == [1024, None]
    assert "max_tokens" not in unlimited.requests[0]
    assert 1 <= small_replica.requests[0]["max_tokens"] < 50


async def test_a_request_larger_than_a_limit_is_invalid_and_not_to_be_repeated(world: World):
    await world.replica(await world.deployment(limits={ORGANIZATION: per_minute(tokens=100)}))
    url = await world.gateway()
    status, _, body = await world.post(url, chat(max_tokens=51, n=2))
    assert (status, json.loads(body)["error"]["code"]) == (422, "invalid_max_tokens")
    assert "100 tokens per minute" in json.loads(body)["error"]["message"]
    status, _, body = await world.post(url, chat("x" * 808))
    assert (status, json.loads(body)["error"]["param"]) == (422, "messages")
    assert (await world.post(url, chat("x" * 400, max_tokens=50)))[0] == 200, "an estimate alone refuses nothing"
    assert (await world.post(url, chat("x" * 400, max_tokens=50)))[0] == 429


async def test_the_reservations_of_a_dead_gateway_are_settled(world: World):
    deployment = await world.deployment(limits={USER: per_minute(requests=9, tokens=5000)})
    await world.replica(deployment, slots=1)
    url = await world.gateway()
    asking = [asyncio.create_task(world.post(url, chat("pause=3", max_tokens=500))) for _ in range(2)]
    await wait_until_queued(world, deployment, 1)
    assert await reservations(world) == 2
    (gateway,) = world.gateways
    await world.gateway()
    await world.store.zadd(contract.GATEWAYS, {gateway.gateway_id: 1})
    await world.gateways[1].components.slots.reap(gateway.gateway_id)
    assert await reservations(world) == 0
    (event,) = await world.events()
    assert await counts(world) == {"deployment user requests": 1, "deployment user tokens": event.input_tokens}
    for task in asking:
        task.cancel()


async def test_a_reservation_whose_answer_was_lost_is_given_back(world: World):
    await world.deployment(limits={USER: per_minute(requests=9, tokens=5000)})
    await world.gateway()
    (gateway,) = world.gateways
    components = gateway.components
    limit = Limit("d", USER, REQUESTS, 5, contract.counter_key("d", USER, "o", "u", REQUESTS))
    admitted = contract.Admitted("", 0.0, gateway.gateway_id, "o", "o", "d", "", "k", "u", "chat", False)
    await components.slots.wait_for_admit(Admission(admitted, Reservation([limit], 0)))
    assert await reservations(world) == 1
    for _ in range(2):
        await components.settlements.release_unacknowledged()
    await until_settled(world)
    assert await counts(world) == {"deployment user requests": 0}


async def test_two_gateways_admit_exactly_the_limit(world: World):
    limits = {level: per_minute(requests=30, tokens=100_000) for level in contract.LEVELS}
    await world.replica(await world.deployment(limits=limits), slots=500)
    urls = [await world.gateway(), await world.gateway()]
    answers = await asyncio.gather(*(world.post(urls[number % 2], chat(max_tokens=3)) for number in range(200)))
    assert sorted(status for status, _, _ in answers) == [200] * 30 + [429] * 170
    await until_settled(world)
    used = 30 * (INPUT_TOKENS + 3)
    assert await counts(world) == {
        f"deployment {level} {unit}": 30 if unit == REQUESTS else used
        for level in contract.LEVELS
        for unit in (REQUESTS, TOKENS)
    }
