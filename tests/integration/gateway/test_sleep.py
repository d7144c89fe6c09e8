"""A request arrives in the same instant as the decision to sleep: served, or told so and the deployment woken."""

import asyncio
import random
import uuid
from pathlib import Path

import pytest
import redis.asyncio

from gateway import contract
from gateway.contract import Admitted, ReplicaRecord
from gateway.limits import Limits, NoSlot, Slot
from tests.integration.gateway.conftest import World, chat

ROOT = Path(__file__).resolve().parents[3]
SLEEP = (ROOT / "deployments" / "routing" / "sleep.lua").read_text()


class Trial:
    """One deployment with one replica, callers with connections of their own, and somebody who wants it to sleep."""

    def __init__(self, limits: Limits, store: redis.asyncio.Redis, epoch: str) -> None:
        self.deployment_id = str(uuid.uuid4())
        self._limits, self._store, self._epoch = limits, store, epoch

    async def prepare(self) -> None:
        record = ReplicaRecord(str(uuid.uuid4()), "127.0.0.1:9", 2)
        await self._store.hset(contract.replicas_key(self.deployment_id), record.replica_id, record.to_json())

    async def call(self, pause: float, is_short: bool) -> Slot | NoSlot:
        await asyncio.sleep(pause)
        note = Admitted("", 0.0, self._limits.gateway_id, "o", "o", self.deployment_id, "", "k", "u", "m", False)
        outcome = await self._limits.admit(note, ())
        if is_short and isinstance(outcome, Slot):
            await self._limits.settle(outcome.admitted, None)
        return outcome

    async def sleep(self, pause: float = 0.0, idle_seconds: float = 0.0) -> str:
        await asyncio.sleep(pause)
        keys = [contract.load_key(self.deployment_id), contract.slots_key(self.deployment_id)]
        script = self._store.register_script(SLEEP)
        args = [self._epoch, round(idle_seconds * 1000), contract.GATEWAY_DEAD_SECONDS]
        return await script(keys=[*keys, contract.GATEWAYS, contract.EPOCH, contract.GENERATION], args=args)

    async def load(self) -> dict[str, str]:
        return await self._store.hgetall(contract.load_key(self.deployment_id))


@pytest.fixture
async def trial(world: World):
    """Makes trials behind one gateway that lives."""
    await world.gateway()
    limits, epoch = world.gateways[0].parts.limits, await world.store.get(contract.EPOCH)

    async def make() -> Trial:
        made = Trial(limits, world.store, epoch)
        await made.prepare()
        return made

    return make


async def interleaved(one: Trial, rng: random.Random) -> tuple[str, bool, bool]:
    """One interleaving, held to the promise: (what sleep said, whether callers were short, whether one was told)."""
    is_short = rng.random() < 0.5
    calls = [one.call(rng.random() / 100, is_short) for _ in range(rng.randint(1, 3))]
    *outcomes, said = await asyncio.gather(*calls, one.sleep(rng.random() / 100))
    load = await one.load()
    told = [outcome for outcome in outcomes if outcome is NoSlot.ASLEEP]
    assert said in {"asleep", "busy"}
    assert (contract.ASLEEP in load) == (said == "asleep")
    assert (contract.WAKE in load) == bool(told)
    assert contract.ARRIVED in load
    if said == "busy":
        assert not told
    elif not is_short:  # who is admitted stays, so it can only have fallen asleep before anybody came
        assert told == outcomes
    return said, is_short, bool(told)


async def test_in_a_thousand_interleavings_no_request_is_lost_to_sleep(trial):
    seen = set()
    for seed in range(0, 1000, 25):
        rngs = [random.Random(number) for number in range(seed, seed + 25)]
        seen.update(await asyncio.gather(*[interleaved(await trial(), rng) for rng in rngs]))
    assert {("asleep", False, True), ("busy", False, False), ("asleep", True, True), ("asleep", True, False)} <= seen


async def test_a_deployment_at_which_somebody_has_just_come_does_not_fall_asleep(trial):
    one = await trial()
    assert isinstance(await one.call(0, is_short=True), Slot)
    assert await one.sleep(idle_seconds=60) == "recent"
    assert await one.sleep() == "asleep"


async def test_a_deployment_for_which_somebody_waits_does_not_fall_asleep(trial, world: World):
    one = await trial()
    limits = world.gateways[0].parts.limits
    await limits.report(one.deployment_id, 1, 0.0)
    assert await one.sleep() == "busy"
    await limits.report(one.deployment_id, 0, 0.0)
    assert await one.sleep() == "asleep"


async def test_looking_at_the_models_never_wakes(world: World):
    deployment = await world.deployment(adapters=["law"])
    await world.store.hset(contract.load_key(deployment.deployment_id), contract.ASLEEP, "1")
    client = world.client(await world.gateway())
    assert [model.id async for model in client.models.list()] == ["chat", "chat:law"]
    assert (await client.models.retrieve("chat:law")).id == "chat:law"
    assert await world.store.hgetall(contract.load_key(deployment.deployment_id)) == {contract.ASLEEP: "1"}
    assert await world.store.llen(contract.HINTS) == 0


async def test_a_request_that_is_refused_for_its_body_wakes_nobody(world: World):
    deployment = await world.deployment()
    await world.store.hset(contract.load_key(deployment.deployment_id), contract.ASLEEP, "1")
    url = await world.gateway()
    assert (await world.post(url, chat(max_tokens=0)))[0] == 422
    assert (await world.post(url, chat(model="chat:nobody")))[0] == 404
    assert await world.store.hgetall(contract.load_key(deployment.deployment_id)) == {contract.ASLEEP: "1"}
