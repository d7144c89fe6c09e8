"""Observe, plan and apply on real PostgreSQL and Redis, over a scripted cluster: from the way up to failures."""

from itertools import pairwise

import pytest

from deployments import queries
from deployments.drivers.base import DriverError
from deployments.messages import describe_reason
from deployments.models import ReplicaPhase
from deployments.states import STARTING_ORDER, DeploymentStatus, ReplicaState
from gateway import contract
from tests.integration.deployments.readings import a_gateway_is_alive, kinds, routes, states, status

pytestmark = pytest.mark.django_db(transaction=True)
R, S = ReplicaState, DeploymentStatus


# The way up


def test_a_deployment_goes_live_phase_by_phase(console, store):
    deployment = console.create(count=2)
    began = console.now
    console.tick()
    assert (status(deployment), deployment.phase) == (S.DEPLOYING, R.REQUESTING_GPU)
    assert deployment.pending_since is None
    for state in (R.DOWNLOADING_MODEL, R.ENGINE_INITIALIZING):
        console.cluster.pass_time(2)
        console.cluster.reach(state)
        console.tick()
        assert (status(deployment), deployment.phase) == (S.DEPLOYING, state)
    console.cluster.pass_time(2)
    console.cluster.reach(R.READY)
    console.tick()
    assert (status(deployment), deployment.phase) == (S.RUNNING, "")
    assert kinds(deployment) == [
        "created", "replica_requested", "replica_downloading", "replica_initializing", "replica_ready",
    ]  # fmt: skip
    phases = ReplicaPhase.objects.filter(replica__deployment=deployment)
    seconds = [(phase.started_at - began).total_seconds() for phase in phases]
    assert [(phase.name, since) for phase, since in zip(phases, seconds, strict=True)] == [
        (R.REQUESTING_GPU, 1), (R.DOWNLOADING_MODEL, 3), (R.ENGINE_INITIALIZING, 6), (R.READY, 9),
    ]  # fmt: skip
    assert all(earlier.ended_at == later.started_at for earlier, later in pairwise(phases))
    assert [(record.address, record.max_concurrency, record.draining) for record in routes(store, deployment)] == [
        ("127.0.0.1:9000", 16, False)
    ]


def test_the_cluster_is_told_what_to_start(console):
    deployment = console.create(count=2)
    console.tick()
    (spec,) = console.cluster.specs.values()
    replica = deployment.replicas.get()
    assert (spec.replica_id, spec.name) == (str(replica.pk), replica.name)
    assert (spec.deployment_id, spec.gpu_type, spec.gpu_count) == (str(deployment.pk), "l40s-48gb", 2)


def test_earlier_starts_say_what_is_typical(console):
    first = console.create(replicas=2)
    console.tick()
    for state, seconds in ((R.DOWNLOADING_MODEL, 0), (R.ENGINE_INITIALIZING, 30), (R.READY, 10)):
        console.cluster.pass_time(seconds)
        console.cluster.reach(state)
    console.tick()
    assert status(first) == S.RUNNING
    typical = queries.measure_starts(console.create("second")).phases
    assert {name: (times.p50_seconds, times.count) for name, times in typical.items()} == {
        R.DOWNLOADING_MODEL: (30.0, 2), R.ENGINE_INITIALIZING: (10.0, 2),
    }  # fmt: skip
    assert queries.measure_starts(console.create("third", count=2)).phases == {}


def test_several_replicas_start_together(console):
    deployment = console.create(replicas=3)
    console.tick()
    console.cluster.reach(R.READY)
    console.tick()
    assert status(deployment) == S.RUNNING
    assert states(deployment) == [R.READY] * 3


# Capacity


def test_two_deployments_for_one_place_are_served_in_the_order_of_asking(console):
    first, second = console.create("first", gpu="h100-sxm-80gb", count=2), None
    console.cluster.pass_time(1)
    second = console.create("second", gpu="h100-sxm-80gb", count=1)
    console.tick()
    assert (status(first), status(second)) == (S.DEPLOYING, S.PENDING)
    facts = {"gpu": "H100 SXM", "gpu_count": 1, "replicas": 1, "free": 0, "total": 2}
    assert second.pending_reason == {"code": "gpu_queue", "facts": facts}
    assert queries.queue_position(second) == 1
    assert kinds(second) == ["created", "pending"]


def test_who_waits_gets_the_gpus_as_soon_as_they_are_released(console):
    first = console.create("first", gpu="h100-sxm-80gb", count=2)
    console.run(first)
    second = console.create("second", gpu="h100-sxm-80gb", count=2)
    console.tick()
    console.terminate(first)
    console.tick()
    console.tick(61)
    console.tick(1, times=3)
    assert (status(first), status(second)) == (S.TERMINATED, S.DEPLOYING)
    assert second.pending_reason is None


def test_nobody_overtakes_who_came_first(console):
    console.run(console.create("holder", gpu="h100-sxm-80gb", count=1))
    large = console.create("large", gpu="h100-sxm-80gb", count=2)
    console.tick()
    small = console.create("small", gpu="h100-sxm-80gb", count=1)
    console.tick()
    assert (status(large), status(small)) == (S.PENDING, S.PENDING)
    assert (small.pending_reason["code"], small.pending_reason["facts"]["free"]) == ("gpu_queue", 1)
    assert [queries.queue_position(deployment) for deployment in (large, small)] == [1, 2]


def test_what_stops_still_holds_its_gpus(console):
    first = console.create("first", gpu="h100-sxm-80gb", count=2)
    console.tick()
    console.cluster.stop_works = False
    console.terminate(first)
    second = console.create("second", gpu="h100-sxm-80gb", count=2)
    console.tick(times=3)
    assert (states(first), status(second)) == ([R.STOPPING], S.PENDING)
    used = {row.gpu_type.pk: row.used for row in queries.capacity(second.endpoint.cluster)}
    assert used == {"l40s-48gb": 0, "h100-sxm-80gb": 2}


# Termination


@pytest.mark.parametrize("state", STARTING_ORDER)
def test_termination_while_starting_stops_at_once_and_waits_for_the_confirmation(console, state):
    deployment = console.create()
    console.tick()
    console.cluster.reach(state)
    console.cluster.stop_works = False
    console.terminate(deployment)
    console.tick()
    assert (status(deployment), states(deployment)) == (S.TERMINATING, [R.STOPPING])
    console.cluster.stop_works = True
    console.tick(times=2)
    assert (status(deployment), states(deployment)) == (S.TERMINATED, [R.STOPPED])
    assert deployment.work.next_due_at is None
    assert console.cluster.replicas == {}


def test_termination_before_the_first_pass_needs_no_cluster(console):
    deployment = console.create()
    console.terminate(deployment)
    console.tick()
    assert (status(deployment), console.cluster.calls) == (S.TERMINATED, [])


def test_a_ready_replica_finishes_what_it_has_before_it_stops(console, store):
    a_gateway_is_alive(store)
    deployment = console.create()
    replica = console.run(deployment)
    slots = contract.slots_key(str(deployment.pk))
    store.hset(slots, str(replica.pk), 2)
    console.terminate(deployment)
    console.tick(times=3)
    assert states(deployment) == [R.DRAINING]
    assert [record.draining for record in routes(store, deployment)] == [True]
    store.hset(slots, str(replica.pk), 0)
    console.tick(times=2)
    assert (status(deployment), states(deployment)) == (S.TERMINATED, [R.STOPPED])
    assert routes(store, deployment) == []


@pytest.mark.parametrize("away", ["no gateway", "another Redis", "no Redis epoch"])
def test_an_unknown_load_waits_for_the_limit(console, store, away):
    a_gateway_is_alive(store)
    deployment = console.create()
    console.run(deployment)
    console.terminate(deployment)
    console.cluster.pass_time(1)
    store.hset(contract.slots_key(str(deployment.pk)), "other", 1)
    console.tick(0)
    if away == "no gateway":
        store.delete(contract.GATEWAYS)
    elif away == "another Redis":
        store.set(contract.EPOCH, "two")
    else:
        store.delete(contract.EPOCH)
    console.tick(1, times=3)
    assert states(deployment) == [R.DRAINING]
    console.tick(57)
    console.tick(times=2)
    assert states(deployment) == [R.STOPPED]


def test_the_end_of_the_log_is_kept(console):
    deployment = console.create()
    console.run(deployment)
    console.terminate(deployment)
    console.tick()
    console.tick(61)
    console.tick(times=2)
    replica = deployment.replicas.get()
    assert replica.log_tail.endswith("last line\ufffd")
    assert (replica.state, replica.released_at is not None) == (R.STOPPED, True)


# Failures


def test_a_replica_that_crashes_is_replaced_and_after_three_the_deployment_has_failed(console, store):
    deployment = console.create()
    for waits in (1, 4):
        replica = console.run(deployment)
        console.cluster.pass_time(5)
        console.cluster.exit(replica.name, 1)
        console.tick(0)
        assert (status(deployment), states(deployment)[-1]) == (S.PENDING, R.FAILED)
        assert deployment.pending_reason["code"] == "back_off"
        assert str(waits) in queries.explain_pending(deployment, console.cluster.now).sentence
        console.tick(waits - 0.5)
        assert R.REQUESTING_GPU not in states(deployment)
        console.cluster.pass_time(0.5)
    replica = console.run(deployment)
    console.cluster.exit(replica.name, 1)
    console.tick(5)
    assert status(deployment) == S.FAILED
    assert (deployment.cause["code"], deployment.cause["facts"]) == ("engine_exited", {"exit_code": 1})
    assert states(deployment) == [R.FAILED] * 3
    assert console.cluster.replicas == {}
    assert deployment.work.next_due_at is None
    assert kinds(deployment)[-2:] == ["replica_failed", "failed"]
    route = contract.RouteRecord.from_json(store.hget(contract.ROUTES, str(deployment.pk)))
    assert (route.state, route.reason) == ("failed", describe_reason(deployment.cause).sentence)


def test_an_engine_that_never_becomes_healthy_fails_with_that_cause(console):
    deployment = console.create()
    for _ in range(3):
        console.tick(20)
        console.cluster.reach(R.ENGINE_INITIALIZING)
        console.tick()
        console.tick(601)
        console.tick(times=2)
    assert status(deployment) == S.FAILED
    assert deployment.cause["code"] == "never_healthy"
    assert states(deployment) == [R.FAILED] * 3


def test_a_failing_replica_holds_its_gpu_until_the_cluster_confirms(console):
    deployment = console.create()
    console.tick()
    console.cluster.reach(R.ENGINE_INITIALIZING)
    console.cluster.stop_works = False
    console.tick(1)
    console.tick(601)
    console.tick(times=3)
    replica = deployment.replicas.order_by("created_at").first()
    assert (replica.state, replica.cause["code"], replica.released_at) == (R.STOPPING, "never_healthy", None)


def test_a_replica_whose_probe_fails_leaves_the_routes_and_comes_back(console, store):
    deployment = console.create()
    console.run(deployment)
    console.cluster.reach(R.READY, healthy=False)
    console.tick(6)
    assert (routes(store, deployment), status(deployment)) == ([], S.RUNNING)
    console.cluster.reach(R.READY)
    console.tick()
    assert len(routes(store, deployment)) == 1
    assert kinds(deployment)[-2:] == ["replica_unhealthy", "replica_healthy"]


def test_a_start_that_the_cluster_refuses_for_good_is_a_failure(console):
    console.cluster.start_error = DriverError("no such image", retryable=False)
    deployment = console.create()
    console.tick(1, times=40)
    assert status(deployment) == S.FAILED
    assert (deployment.cause["code"], deployment.cause["evidence"]) == ("start_refused", "no such image")
