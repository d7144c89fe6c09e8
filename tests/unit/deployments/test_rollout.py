"""A rolling update, step by step and as a whole: the new is ready before the old drains, or it says why not."""

from random import Random

import pytest

from deployments.codes import Reason
from deployments.reconciler.plan_actions import Drain, Resume, RollBack, Start, Stop
from deployments.reconciler.rollout import Steps, plan_steps
from deployments.reconciler.snapshot import PoolView
from deployments.states import ReplicaState
from tests.unit.deployments.simulation import World
from tests.unit.deployments.snapshots import a_deployment, a_load, a_replica, a_snapshot, ago, seen

R = ReplicaState
FULL, ROOM = PoolView("H100", 4, 0), PoolView("H100", 8, 4)


def old(id, state=R.READY, **changes):
    return a_replica(id, state, **({"spec_hash": "v1", "ready_at": ago(900)} | changes))


def new(id, state=R.READY, **changes):
    return a_replica(id, state, **({"spec_hash": "v2", "ready_at": ago(30)} | changes))


def unsettled(id):
    return new(id, ready_at=ago(1))


def decided(replicas, wanted, pool=ROOM, gpu_count=1, **changes):
    deployment = a_deployment(spec_hash="v2", desired_replicas=wanted, gpu_count=gpu_count)
    observed = tuple(seen(replica.id, R.READY) for replica in replicas)
    return plan_steps(
        a_snapshot(*replicas, observed=observed, deployment=deployment, pool=pool, **changes), replicas, wanted
    )


# One step


@pytest.mark.parametrize(
    ("replicas", "wanted", "expected"),
    [
        ([old("a")], 1, Steps(start=1)),
        ([old("a"), new("n", R.DOWNLOADING_MODEL)], 1, Steps()),
        ([old("a"), unsettled("n")], 1, Steps()),
        ([old("a"), new("n", serving=False)], 1, Steps()),
        ([old("a"), new("n")], 1, Steps((Drain("a"),))),
        ([old("a"), old("b"), old("c")], 3, Steps(start=1)),
        ([old("a"), old("b"), old("c"), unsettled("n")], 3, Steps()),
        ([old("a"), old("b"), old("c"), new("n", R.REQUESTING_GPU)], 3, Steps()),
        ([old(name) for name in "abcdefgh"], 8, Steps(start=2)),
        ([old("a"), old("b"), new("n")], 2, Steps((Drain("a"),))),
        ([old("a"), old("b", serving=False), new("n")], 2, Steps((Drain("b"),))),
        ([old("a", R.ENGINE_INITIALIZING)], 1, Steps((Stop("a", "superseded"),), 1)),
        ([old("a"), old("b", R.REQUESTING_GPU)], 2, Steps((Stop("b", "superseded"),), 2)),
        ([old("a"), old("b")], 3, Steps(start=2)),
        ([old("a"), old("b"), old("c")], 1, Steps((Drain("a"), Drain("b")))),
        ([old("a"), new("m"), new("n", R.DOWNLOADING_MODEL)], 1, Steps((Stop("n", "surplus"), Drain("a")))),
        ([new("n")], 1, Steps()),
        ([old("a"), new("n")], 0, Steps((Drain("a"), Drain("n")))),
        ([new("n", R.DRAINING)], 1, Steps((Resume("n"),))),
        ([old("a", R.DRAINING)], 1, Steps(start=1)),
    ],
    ids=["one: surge", "one: the new starts", "one: not settled yet", "one: the new does not answer", "one: relieved",
         "three: one more at a time", "three: one settles before the next", "three: one starts before the next",
         "eight: two more at a time", "two: one relieved",
         "two: who does not answer first",
         "the old that starts is not waited for", "nor beside one that serves", "one is missing besides",
         "a smaller number comes down at once", "a surplus of both", "done", "asleep", "draining comes back",
         "but not as it was before"],
)  # fmt: skip
def test_with_gpus_free_new_replicas_come_first(replicas, wanted, expected):
    assert decided(replicas, wanted) == expected


@pytest.mark.parametrize(
    ("replicas", "wanted", "pool", "gpu_count", "expected"),
    [
        ([old("a")], 1, FULL, 1, Steps((Drain("a"),))),
        ([old("a"), old("b")], 2, FULL, 1, Steps((Drain("a"),))),
        ([old("b"), old("c"), new("n", R.DOWNLOADING_MODEL)], 3, FULL, 1, Steps()),
        ([old("b"), old("c"), unsettled("n")], 3, FULL, 1, Steps()),
        ([old("b"), old("c"), new("n")], 3, FULL, 1, Steps((Drain("b"),))),
        ([old("a"), old("b", R.DRAINING)], 2, FULL, 1, Steps(start=1)),
        ([old("a"), old("b"), old("c", R.STOPPING)], 2, FULL, 1, Steps()),
        ([old("a"), old("b"), old("c")], 3, FULL, 2, Steps((Drain("a"), Drain("b")))),
        ([old("a")], 1, PoolView("H100", 4, 1), 2, Steps((Drain("a"),))),
    ],
    ids=["the only one makes place", "one of two does", "the new one is on its way", "and settles first",
         "then the next makes place", "its place is asked for", "what stops makes place anyway",
         "two make place for a larger one", "with what is free"],
)  # fmt: skip
def test_without_gpus_the_old_make_place_one_at_a_time(replicas, wanted, pool, gpu_count, expected):
    assert decided(replicas, wanted, pool, gpu_count) == expected


def test_who_wants_more_than_there_is_updates_what_it_has_all_the_same():
    """Five wanted, three run, no GPU is free: two wait in the queue, and one of the three makes place."""
    assert decided([old("a"), old("b"), old("c")], 5, FULL) == Steps((Drain("a"),), 2)


@pytest.mark.parametrize(
    ("pool", "gpu_count", "hold"),
    [
        (PoolView("H100", 4, 0, ahead=1), 1,
         Reason("update_behind_others", gpu="H100", gpu_count=1, ahead=1)),
        (PoolView("H100", 4, 2, ahead=2), 1,
         Reason("update_behind_others", gpu="H100", gpu_count=1, ahead=2)),
        (PoolView("H100", 4, 1), 4,
         Reason("update_pool_too_small", gpu="H100", gpu_count=4, freed=2)),
    ],
    ids=["somebody waits", "two wait", "too large"],
)  # fmt: skip
def test_what_would_only_lose_its_gpu_is_held_and_says_why(pool, gpu_count, hold):
    assert decided([old("a")], 1, pool, gpu_count) == Steps(hold=hold)


def test_who_is_missing_does_not_make_the_update_start_more_than_one_at_a_time_beyond_what_is_wanted():
    """One of four has crashed: what replaces it and one more, although there is place for all."""
    assert decided([old("a"), old("b"), old("c")], 4).start == 2


# The whole of it


def roll(world, seconds=120, look=lambda: None):
    while world.second < seconds:
        world.whole_pass()
        look()
        world.second += 1


def serving(world):
    return [replica for replica in world.live if replica.state is R.READY and replica.serving]


def a_world(replicas, gpus, **changes):
    world = World(gpus=gpus, desired_replicas=replicas, spec_hash="v1", **changes)
    for number in range(replicas):
        world.add_ready_replica(f"o{number}")
    world._set(spec_hash="v2", good_revision_id="v1")
    return world


@pytest.mark.parametrize("replicas", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("spare", [0, 1, 3])
def test_it_ends_with_the_new_and_never_serves_with_fewer_than_it_can(replicas, spare):
    """With a GPU to spare never with fewer than wanted, without one with one fewer at most."""
    world = a_world(replicas, replicas + spare)
    least = []
    roll(world, 40 + 12 * replicas, look=lambda: least.append(len(serving(world))))
    assert min(least) == replicas - (spare == 0)
    assert [replica.spec_hash for replica in serving(world)] == ["v2"] * replicas
    assert len(world.live) == replicas


def test_two_edits_in_a_row_converge_on_the_last():
    world = a_world(4, 6)
    roll(world, 7)
    world._set(spec_hash="v3")
    roll(world, 90)
    assert [replica.spec_hash for replica in world.live] == ["v3"] * 4


def test_an_edit_that_is_taken_back_restarts_nothing_that_still_runs():
    world = a_world(3, 4)
    roll(world, 3)
    world._set(spec_hash="v1")
    roll(world, 20)
    assert sorted(replica.id for replica in world.live) == ["o0", "o1", "o2"]


@pytest.mark.parametrize("spare", [0, 1])
@pytest.mark.parametrize("replicas", [1, 2, 4])
@pytest.mark.parametrize("lives", [0.5, 2.5], ids=["before it is ready", "a second after"])
def test_a_revision_that_fails_is_rolled_back_and_costs_one_old_replica_at_most(replicas, spare, lives):
    world = a_world(replicas, replicas + spare, start_seconds=1.5)
    least = []

    def fail_the_new():
        least.append(len(serving(world)))
        for replica in world.live_with("v2", *set(R) - {R.STOPPED, R.FAILED}):
            if world.second - world.engines.get(replica.id, world.second) >= lives and replica.id not in world.killed:
                world.crash(replica.id)

    roll(world, 90, look=fail_the_new)
    assert RollBack("v1", 3) in world.log
    assert world.deployment.failed_at is None
    assert [replica.spec_hash for replica in serving(world)] == ["v1"] * replicas
    old_serving = replicas - (spare == 0)
    assert min(least) >= old_serving


@pytest.mark.parametrize("seed", range(6))
def test_edits_scaling_crashes_and_requests_in_any_order_lose_nothing_and_converge(seed):
    """Ten lives each: no request is cut by a stop, GPUs are never overdrawn, and it ends as people asked last."""
    for number in range(10):
        random = Random(f"{seed} {number}")
        world = a_world(random.randint(1, 4), 6, start_seconds=random.choice([1.0, 4.0]))
        requests, crashed = 0, set()
        for _ in range(50):
            for _ in world.a_pass():
                if random.random() < 0.3:
                    requests += 1
                    world.counters.admit(requests, world.second, most=50)
                if world.counters.running and random.random() < 0.3:
                    world.counters.settle(random.choice(world.counters.running))
            assert len(world.live) <= 6
            change = random.random()
            if change < 0.05:
                world._set(spec_hash=random.choice(["v1", "v2", "v3"]), tried_since=world.now, failed_at=None)
            elif change < 0.1:
                wanted = random.randint(1, 5)
                world._set(desired_replicas=wanted, min_replicas=wanted, max_replicas=wanted)
            elif change < 0.13 and (
                serves := [replica.id for replica in serving(world) if replica.id not in world.killed]
            ):
                crashed.update(world.counters.slots.get(serves[0], ()))
                world.crash(serves[0])
            world.second += random.choice([0.5, 1.0])
        world._set(tried_since=world.now, failed_at=None)
        for request in world.counters.running:
            world.counters.settle(request)
        roll(world, world.second + 120)
        assert world.lost == []
        assert not [reason for _, reason in world.stopped if reason == "drain_limit"]
        assert [replica.spec_hash for replica in serving(world)] == [
            world.deployment.spec_hash
        ] * world.deployment.desired_replicas


def test_the_pass_that_drains_starts_nothing_in_its_place():
    """Its GPU is free only when its absence is confirmed."""
    found = decided([old("a")], 1, FULL, load=a_load())
    assert not [action for action in found.actions if isinstance(action, Start)]
    assert found.start == 0
