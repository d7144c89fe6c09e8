"""Asleep or awake: what the planner proposes, and 1,000 interleavings of a request that comes and a deployment that
goes to sleep."""

from random import Random

import pytest

from deployments.codes import Reason
from deployments.reconciler.plan import plan
from deployments.reconciler.plan_actions import FallAsleep, Wake
from deployments.states import ReplicaState
from tests.unit.deployments.simulation import World
from tests.unit.deployments.snapshots import a_deployment, a_load, a_replica, a_snapshot, ago, seen

R = ReplicaState
IDLE = {"epoch": "e1", "since": round(ago(900).timestamp() * 1000), "samples": [], "peaks": []}
HEARD_LATELY = IDLE | {"since": round(ago(299).timestamp() * 1000)}


def a_range(**changes):
    return a_deployment(**({"min_replicas": 0, "max_replicas": 1, "memory": IDLE, "observed_at": ago(1)} | changes))


def proposals(deployment, load, *replicas):
    observed = tuple(seen(replica.id, replica.state) for replica in replicas)
    snapshot = a_snapshot(*replicas, observed=observed, deployment=deployment, load=load)
    return [action for action in plan(snapshot) if isinstance(action, FallAsleep | Wake)]


REQUEST = Reason("request_arrived")
READY = a_replica("a", R.READY, ready_at=ago(900))
ASKING = a_replica("a", R.REQUESTING_GPU)
SLEEP = FallAsleep("e1", 300)


# To sleep


@pytest.mark.parametrize(
    ("deployment", "load", "replicas", "expected"),
    [
        (a_range(), a_load(), [READY], [SLEEP]),
        (a_range(), a_load(last_arrival_at=ago(300)), [READY], [SLEEP]),
        (a_range(sleep_after_seconds=40), a_load(last_arrival_at=ago(41)), [READY], [FallAsleep("e1", 40)]),
        (a_range(), a_load(last_arrival_at=ago(299)), [READY], []),
        (a_range(), a_load(in_flight={"a": 1}), [READY], []),
        (a_range(), a_load(waiting=1), [READY], []),
        (a_range(), None, [READY], []),
        (a_range(), a_load(epoch="e2"), [READY], []),
        (a_range(memory={}), a_load(), [READY], []),
        (a_range(memory=HEARD_LATELY), a_load(), [READY], []),
        (a_range(min_replicas=1), a_load(), [READY], []),
        (a_range(woken_at=ago(299)), a_load(), [READY], []),
        (a_range(tried_since=ago(299)), a_load(), [READY], []),
        (a_range(), a_load(), [a_replica("a", R.READY, ready_at=ago(299))], []),
        (a_range(max_replicas=2), a_load(), [READY, a_replica("b", R.DOWNLOADING_MODEL)], []),
        (a_range(), a_load(), [ASKING], []),
        (a_range(failed_at=ago(5)), a_load(), [READY], []),
        (a_range(terminate_requested_at=ago(5)), a_load(), [READY], []),
    ],
    ids=["nobody ever came", "nobody for the delay", "a delay of its own", "somebody came lately", "in flight",
         "waiting", "unknown load", "another Redis", "nothing heard yet", "heard for too short", "minimum of one",
         "woken lately", "tried lately", "ready lately", "a start that is finished first", "shows first that it runs",
         "given up", "ending"],
)  # fmt: skip
def test_it_is_to_sleep_only_when_nobody_came_for_the_whole_delay(deployment, load, replicas, expected):
    assert proposals(deployment, load, *replicas) == expected


# To wake


ASLEEP = {"asleep_since": ago(500), "desired_replicas": 0, "min_replicas": 0, "max_replicas": 3}


@pytest.mark.parametrize(
    ("changes", "load", "expected"),
    [
        ({}, a_load(), []),
        ({}, a_load(last_arrival_at=ago(1)), []),
        ({}, a_load(wake=True), [Wake(1, REQUEST)]),
        ({}, a_load(waiting=200), [Wake(1, REQUEST, 200)]),
        ({}, a_load(in_flight={"a": 1}), [Wake(1, REQUEST)]),
        ({}, None, []),
        ({"min_replicas": 2}, None, [Wake(2, Reason("minimum_raised", min_replicas=2))]),
        ({"terminate_requested_at": ago(1)}, a_load(wake=True), []),
    ],
    ids=[
        "silence",
        "only read, never asked",
        "a request",
        "a burst",
        "one slipped in",
        "unknown",
        "a raised minimum",
        "ending",
    ],
)
def test_a_request_or_a_raised_minimum_wakes_it(changes, load, expected):
    assert proposals(a_range(**(ASLEEP | changes)), load) == expected


def test_a_wake_that_nobody_waits_for_any_more_ends_while_it_asks_for_gpus():
    woken = a_range(woken_at=ago(60), memory=IDLE)
    assert proposals(woken, a_load(last_arrival_at=ago(60)), ASKING) == [FallAsleep("e1", 60)]
    assert proposals(woken, a_load(last_arrival_at=ago(59)), ASKING) == []
    assert proposals(woken, a_load(last_arrival_at=ago(60)), a_replica("a", R.DOWNLOADING_MODEL)) == []


# Both at once


class Gateway:
    """Requests that come, wait and come again, and end."""

    def __init__(self, world: World, random: Random) -> None:
        self.world, self.random, self.requests = world, random, 0

    def act(self) -> None:
        counters, second = self.world.counters, self.world.second
        choice = self.random.random()
        if choice < 0.12 and self.requests < 8:
            self.requests += 1
            counters.admit(self.requests, second)
        elif choice < 0.4 and counters.waiting:
            counters.admit(min(counters.waiting), second)
        elif choice < 0.6 and counters.running:
            counters.settle(self.random.choice(counters.running))
        elif choice < 0.65:
            self.world.publish()
        else:
            self.world.second += self.random.choice([0.0, 0.2, 1.0])

    def finish(self) -> None:
        """Nobody new comes; who waits or runs is served."""
        for _ in range(30):
            for request in self.world.counters.running:
                self.world.counters.settle(request)
            self.world.whole_pass()
            for request in sorted(self.world.counters.waiting):
                self.world.counters.admit(request, self.world.second)
            self.world.second += 1


def interleave(random: Random) -> tuple[World, Gateway]:
    """Passes of the reconciler, stopped anywhere, while requests come and go around the moment of falling asleep."""
    world = World(
        min_replicas=0, max_replicas=2, sleep_after_seconds=4.0, scale_down_delay_seconds=4.0, start_seconds=1.0
    )
    world.add_ready_replica("first")
    gateway = Gateway(world, random)
    world.whole_pass()
    world.second = random.uniform(2.5, 4.5)
    for _ in range(14):
        for _ in world.a_pass():
            for _ in range(random.choice([0, 0, 0, 1, 1, 3])):
                gateway.act()
            if random.random() < 0.05:
                break  # the worker is killed here; the next pass finds what it left
        world.second += random.choice([0.3, 1.0, 1.0])
    gateway.finish()
    return world, gateway


@pytest.mark.parametrize("seed", range(10))
def test_a_hundred_interleavings_of_requests_and_sleep_lose_none(seed):
    slept = woken = raced = 0
    for number in range(100):
        world, gateway = interleave(Random(f"{seed} {number}"))
        assert world.lost == []
        assert world.counters.answered == set(range(1, gateway.requests + 1))
        assert not [reason for _, reason in world.stopped if reason not in ("drained", None)]
        wakes = sum(isinstance(action, Wake) for action in world.log)
        slept, woken = slept + bool(world.stopped), woken + bool(wakes)
        raced += sum(isinstance(action, FallAsleep) for action in world.log) > wakes + 1
    assert min(slept, woken) > 30
    assert raced > 5, "requests came between the proposal and the flip too"
