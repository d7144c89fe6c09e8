"""Races between an arriving request and the decision to sleep: the request is served, or wakes the deployment."""

import asyncio
import random
import uuid
from pathlib import Path

import pytest
import redis.asyncio

from gateway import contract
from gateway.contract import Admitted, ReplicaRecord
from gateway.slots import Admission, NoSlot, Slot, SlotStore
from tests.integration.gateway.conftest import World, chat

ROOT = Path(__file__).resolve().parents[3]
SLEEP = (ROOT / "deployments" / "routing" / "sleep.lua").read_text()


class Trial:
    """A deployment with one replica; `call` and `sleep` run concurrently."""

    def __init__(self, slots: SlotStore, store: redis.asyncio.Redis, epoch: str) -> None:
        self.deployment_id = str(uuid.uuid4())
        self._slots, self._store, self._epoch = slots, store, epoch

    async def prepare(self) -> None:
        record = ReplicaRecord(str(uuid.uuid4()), "127.0.0.1:9", 2)
        await self._store.hset(contract.replicas_key(self.deployment_id), record.replica_id, record.to_text())

    async def call(self, pause: float, is_short: bool) -> Slot | NoSlot:
        await asyncio.sleep(pause)
        admitted = Admitted("", 0.0, self._slots.gateway_id, "o", "o", self.deployment_id, "", "k", "u", "m", False)
        outcome = await self._slots.wait_for_admit(Admission(admitted))
        if is_short and isinstance(outcome, Slot):
            await self._slots.wait_for_settle(outcome.admitted, None)
        return outcome

    async def sleep(self, pause: float = 0.0, idle_seconds: float = 0.0) -> str:
        await asyncio.sleep(pause)
        keys = [contract.load_key(self.deployment_id), contract.slots_key(self.deployment_id)]
        script = self._store.register_script(SLEEP)
        args = [self._epoch, round(idle_seconds * 1000), contract.GATEWAY_DEAD_SECONDS]
        return await script(keys=[*keys, contract.GATEWAYS, contract.EPOCH], args=args)

    async def load(self) -> dict[str, str]:
        return await self._store.hgetall(contract.load_key(self.deployment_id))


@pytest.fixture
async def trial(world: World):
    """Create trials with one running gateway."""
    await world.gateway()
    slots, epoch = world.gateways[0].components.slots, await world.store.get(contract.EPOCH)

    async def make() -> Trial:
        made = Trial(slots, world.store, epoch)
        await made.prepare()
        return made

    return make


async def run_interleaving(trial: Trial, rng: random.Random) -> tuple[str, bool, bool]:
    """Run calls and sleep concurrently; returns (result of sleep, whether calls end at once, any rejected)."""
    is_short = rng.random() < 0.5
    calls = [trial.call(rng.random() / 100, is_short) for _ in range(rng.randint(1, 3))]
    *outcomes, sleep_result = await asyncio.gather(*calls, trial.sleep(rng.random() / 100))
    load = await trial.load()
    rejected = [outcome for outcome in outcomes if outcome is NoSlot.ASLEEP]
    assert sleep_result in {"asleep", "busy"}
    assert (contract.ASLEEP in load) == (sleep_result == "asleep")
    assert (contract.WAKE in load) == bool(rejected)
    assert contract.ARRIVED in load
    if sleep_result == "busy":
        assert not rejected
    elif not is_short:  # admitted requests stay open, so the deployment fell asleep before the first call
        assert rejected == outcomes
    return sleep_result, is_short, bool(rejected)


async def test_no_request_is_lost_in_a_thousand_interleavings(trial):
    seen = set()
    for seed in range(0, 1000, 25):
        rngs = [random.Random(number) for number in range(seed, seed + 25)]
        seen.update(await asyncio.gather(*[run_interleaving(await trial(), rng) for rng in rngs]))
    assert {("asleep", False, True), ("busy", False, False), ("asleep", True, True), ("asleep", True, False)} <= seen


async def test_a_deployment_with_a_recent_request_does_not_fall_asleep(trial):
    subject = await trial()
    assert isinstance(await subject.call(0, is_short=True), Slot)
    assert await subject.sleep(idle_seconds=60) == "recent"
    assert await subject.sleep() == "asleep"


async def test_a_deployment_with_queued_requests_does_not_fall_asleep(trial, world: World):
    subject = await trial()
    slots = world.gateways[0].components.slots
    await slots.report_waiting(subject.deployment_id, 1, 0.0)
    assert await subject.sleep() == "busy"
    await slots.report_waiting(subject.deployment_id, 0, 0.0)
    assert await subject.sleep() == "asleep"


async def test_reading_the_models_list_wakes_no_deployment(world: World):
    deployment = await world.deployment(adapters=["law"])
    await world.store.hset(contract.load_key(deployment.deployment_id), contract.ASLEEP, "1")
    client = world.client(await world.gateway())
    assert [model.id async for model in client.models.list()] == ["chat", "chat:law"]
    assert (await client.models.retrieve("chat:law")).id == "chat:law"
    assert await world.store.hgetall(contract.load_key(deployment.deployment_id)) == {contract.ASLEEP: "1"}
    assert await world.store.llen(contract.WAKEUPS) == 0


async def test_a_request_with_an_invalid_body_wakes_no_deployment(world: World):
    deployment = await world.deployment()
    await world.store.hset(contract.load_key(deployment.deployment_id), contract.ASLEEP, "1")
    url = await world.gateway()
    assert (await world.post(url, chat(max_tokens=0)))[0] == 422
    assert (await world.post(url, chat(model="chat:unknown")))[0] == 404
    assert await world.store.hgetall(contract.load_key(deployment.deployment_id)) == {contract.ASLEEP: "1"}
