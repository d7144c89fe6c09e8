"""A burst of requests to a deployment that sleeps: one wake, every answer, in order; leavers never reach the engine."""

import asyncio

import openai
import pytest

from tests.e2e import oracles
from tests.e2e.clients import Ending, Seen, call, client
from tests.e2e.stack import Stack

pytestmark = pytest.mark.survive
SETTINGS = {"SCALE_DOWN_DELAY_FLOOR_SECONDS": "3"}
REQUESTS, SPREAD_SECONDS, TOKENS = 200, 2.0, 5
ORDER_SECONDS = 1.0
INITIALIZE_SECONDS = 10.0
ASLEEP_SOON = {"enabled": True, "min_replicas": 0, "max_replicas": 1, "scale_down_delay_seconds": 3}


@pytest.fixture(scope="module")
def sleeper(stack):
    """The name of a deployment that sleeps after three quiet seconds and takes ten to wake."""
    stack.deploy_with(ASLEEP_SOON, "sleeper", "h100-sxm-80gb", initialize_seconds=INITIALIZE_SECONDS)
    return "sleeper"


def test_a_burst_wakes_it_once_and_is_answered_in_order(stack, sleeper):
    before = _asleep(stack, sleeper)
    seen = asyncio.run(_burst(stack, sleeper, leave=lambda index: False))
    assert [one for one in seen if one.ending is not Ending.DONE or one.tokens != TOKENS] == []
    _are_in_order(seen)
    _woke_once(stack, sleeper, before)
    oracles.requests_are_counted_once(stack, seen)


def test_who_leaves_meanwhile_never_reaches_the_engine(stack, sleeper):
    before, written = _asleep(stack, sleeper), len(stack.generated())
    seen = asyncio.run(_burst(stack, sleeper, leave=lambda index: index % 4 == 1))
    stayed = [one for one in seen if one.ending is not Ending.LEFT]
    assert len(stayed) == REQUESTS * 3 // 4
    assert [one for one in stayed if one.ending is not Ending.DONE or one.tokens != TOKENS] == []
    _are_in_order(stayed)
    _woke_once(stack, sleeper, before)
    assert len(stack.generated()) - written == len(stayed)
    oracles.requests_are_counted_once(stack, seen)


def test_looking_at_what_may_be_called_wakes_nothing(stack, sleeper):
    stack.deploy_with(ASLEEP_SOON, "called", "h200-141gb")
    before, before_called = _asleep(stack, sleeper), _asleep(stack, "called")
    address, secret = stack.run["gateway_url"], stack.run["demo"]["api_keys"]["inference"]
    assert sleeper in [one["id"] for one in stack.call(f"{address}/v1/models", secret=secret)[1]["data"]]
    assert stack.call(f"{address}/v1/models/{sleeper}", secret=secret)[0] == 200
    api = client(f"{address}/v1", secret)
    assert asyncio.run(call(api, "called", TOKENS)).ending is Ending.DONE
    _woke_once(stack, "called", before_called)  # a call to the other one is noticed, and was made later
    assert stack.deployment(sleeper)["status"] == "SLEEPING"
    assert len(stack.events(sleeper, "woken")) == before


def _asleep(stack: Stack, name: str) -> int:
    """Wait until it sleeps; how often it was woken before."""
    stack.reaches(name, "SLEEPING", seconds=60)
    return len(stack.events(name, "woken"))


def _woke_once(stack: Stack, name: str, before: int) -> None:
    assert len(stack.events(name, "woken")) == before + 1
    assert len(stack.events(name, "fell_asleep")) >= before + 1


async def _burst(stack: Stack, name: str, leave) -> list[Seen]:
    """REQUESTS within SPREAD_SECONDS, every other one a stream; those that `leave` do so while it wakes."""
    api = client(f"{stack.run['gateway_url']}/v1", stack.run["demo"]["api_keys"]["inference"])
    seen = [Seen(name) for _ in range(REQUESTS)]
    tasks = [asyncio.create_task(_turn(api, one, index)) for index, one in enumerate(seen)]
    await asyncio.sleep(SPREAD_SECONDS + INITIALIZE_SECONDS / 3)
    for index, task in enumerate(tasks):
        if leave(index):
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return seen


async def _turn(api: openai.AsyncOpenAI, seen: Seen, index: int) -> Seen:
    await asyncio.sleep(index * SPREAD_SECONDS / REQUESTS)
    return await call(api, seen.model, TOKENS, stream=index % 2 == 0, seen=seen)


def _are_in_order(seen: list[Seen]) -> None:
    """Nobody is answered more than ORDER_SECONDS before somebody who came earlier."""
    latest = 0.0
    for one in sorted(seen, key=lambda one: one.asked_at):
        assert one.first_at >= latest - ORDER_SECONDS, one
        latest = max(latest, one.first_at)
