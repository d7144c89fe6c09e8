"""Scale, sleep and wake on real PostgreSQL and Redis."""

import pytest

from deployments.models import DeploymentEvent, WorkItem
from deployments.routing import sleep
from deployments.states import DeploymentStatus, ReplicaState
from gateway import contract
from tests.integration.deployments.readings import (
    a_gateway_is_alive,
    a_request_arrives,
    kinds,
    requests_run,
    requests_wait,
    states,
    status,
)

pytestmark = pytest.mark.django_db(transaction=True)
R, S = ReplicaState, DeploymentStatus


def rest(console, store, seconds=330):
    """Time in which nobody calls."""
    console.tick(10, times=seconds // 10)
    a_gateway_is_alive(store)


@pytest.fixture
def asleep(console, store):
    a_gateway_is_alive(store)
    deployment = console.create_range(0, 3)
    console.run(deployment)
    rest(console, store)
    console.tick(2, times=4)
    return deployment


def test_it_falls_asleep_after_the_delay_and_releases_its_gpus(asleep, store):
    assert status(asleep) == S.SLEEPING
    assert states(asleep) == [R.STOPPED]
    assert store.hget(contract.load_key(str(asleep.pk)), contract.ASLEEP) == b"1"
    assert [kind for kind in kinds(asleep) if kind in ("fell_asleep", "scaled")] == ["fell_asleep"]
    assert asleep.desired_replicas == 0


def test_it_stays_asleep_while_nobody_calls(console, asleep):
    console.tick(5, times=5)
    assert status(asleep) == S.SLEEPING


def test_a_request_wakes_it_once(console, store, asleep):
    a_request_arrives(store, asleep)
    requests_wait(store, asleep, 200)
    WorkItem.objects.update(next_due_at=console.now)
    console.tick(1)
    assert (status(asleep), asleep.asleep_since) == (S.DEPLOYING, None)
    assert store.hget(contract.load_key(str(asleep.pk)), contract.ASLEEP) is None
    console.tick(1, times=3)
    console.cluster.reach(R.READY)
    console.tick(1)
    assert kinds(asleep).count("woken") == 1
    assert asleep.replicas.filter(state=R.READY).count() >= 1


def test_in_flight_or_waiting_requests_keep_it_awake(console, store):
    a_gateway_is_alive(store)
    deployment = console.create_range(0, 1)
    replica = console.run(deployment)
    requests_run(store, deployment, replica, 1)
    rest(console, store)
    assert status(deployment) == S.RUNNING
    store.delete(contract.slots_key(str(deployment.pk)))
    requests_wait(store, deployment, 1)
    console.tick(5, times=3)
    assert status(deployment) == S.RUNNING


def test_a_redis_that_restarted_empty_does_not_look_like_silence(console, store):
    a_gateway_is_alive(store)
    deployment = console.create_range(0, 1)
    console.run(deployment)
    rest(console, store, 290)
    store.set(contract.EPOCH, "two")
    console.tick(5, times=10)
    assert status(deployment) == S.RUNNING


def test_without_a_living_gateway_nothing_sleeps_and_nothing_scales_down(console, store):
    deployment = console.create_range(0, 3)
    console.run(deployment)
    for _ in range(80):
        console.tick(5)
    assert status(deployment) == S.RUNNING


def test_a_wake_that_nobody_waits_for_is_taken_back_while_it_asks_for_gpus(console, store, asleep):
    a_request_arrives(store, asleep)
    WorkItem.objects.update(next_due_at=console.now)
    console.tick(1)
    assert status(asleep) == S.DEPLOYING
    for _ in range(70):
        console.tick(1)
    assert status(asleep) == S.SLEEPING


def test_a_wake_whose_gpus_are_allocated_is_finished(console, store, asleep):
    a_request_arrives(store, asleep)
    WorkItem.objects.update(next_due_at=console.now)
    console.tick(1)
    console.cluster.reach(R.DOWNLOADING_MODEL, *console.cluster.running())
    for _ in range(70):
        console.tick(1)
    assert status(asleep) == S.DEPLOYING


def test_a_minimum_above_zero_wakes_it(console, asleep):
    console.edit(asleep, autoscaling={"min_replicas": 2})
    console.tick()
    assert status(asleep) == S.DEPLOYING
    assert asleep.desired_replicas == 2


def test_a_flip_whose_intent_was_lost_is_taken_back(console, store):
    a_gateway_is_alive(store)
    deployment = console.create_range(0, 1)
    console.run(deployment)
    assert sleep.fall_asleep(deployment.pk, "one", 0) == "asleep"
    console.tick(5)
    assert store.hget(contract.load_key(str(deployment.pk)), contract.ASLEEP) is None
    assert status(deployment) == S.RUNNING


def test_a_backlog_scales_up_at_once_and_says_why(console, store):
    a_gateway_is_alive(store)
    deployment = console.create_range(1, 3)
    replica = console.run(deployment)
    requests_run(store, deployment, replica, 16)
    requests_wait(store, deployment, 14, seconds=3)
    console.tick(2)
    assert deployment.replicas.filter(state=R.REQUESTING_GPU).count() == 1
    event = DeploymentEvent.objects.get(deployment=deployment, kind="scaled")
    assert (event.facts["from"], event.facts["to"], event.facts["reason"]["code"]) == (1, 2, "backlog")
    assert event.facts["reason"]["facts"]["waiting"] == 14


def test_what_is_no_longer_needed_goes_after_the_delay(console, store):
    a_gateway_is_alive(store)
    deployment = console.create_range(1, 2)
    replica = console.run(deployment)
    requests_wait(store, deployment, 14, seconds=3)
    requests_run(store, deployment, replica, 16)
    console.tick(2)
    console.cluster.reach(R.READY)
    store.delete(contract.slots_key(str(deployment.pk)), contract.load_key(str(deployment.pk)))
    console.tick(5)
    assert (status(deployment), deployment.desired_replicas) == (S.RUNNING, 2)
    rest(console, store, 280)
    assert (status(deployment), deployment.desired_replicas) == (S.RUNNING, 2)
    rest(console, store, 40)
    assert (status(deployment), deployment.desired_replicas) == (S.RUNNING, 1)


def test_what_crashes_long_after_its_wake_is_replaced_and_not_put_to_sleep(console, store, asleep):
    a_request_arrives(store, asleep)
    WorkItem.objects.update(next_due_at=console.now)
    console.tick(1)
    console.tick(1)
    console.cluster.reach(R.READY, *console.cluster.running())
    console.tick(1)
    store.hdel(contract.load_key(str(asleep.pk)), contract.WAKE, contract.ARRIVED)
    console.tick(100)
    a_gateway_is_alive(store)
    console.cluster.exit(console.cluster.running()[0], 1)
    console.tick(2, times=3)
    assert status(asleep) == S.DEPLOYING
    assert kinds(asleep).count("fell_asleep") == 1
