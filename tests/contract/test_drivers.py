"""What every driver keeps to, the same tests for each."""

import contextlib
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from deployments.drivers.base import Capacity, DriverError
from deployments.states import ReplicaState
from tests.contract.driver_worlds import GPUS, QUICK, World, ended, ready, spec

R = ReplicaState


def test_an_empty_cluster_lists_nothing_and_is_complete(world: World) -> None:
    seen = world.driver.observe()
    assert (seen.replicas, seen.complete) == ((), True)
    assert seen.listed_at.tzinfo is not None


def test_a_replica_passes_its_phases_in_order_and_each_has_its_time(world: World) -> None:
    before = world.driver.observe().listed_at
    world.driver.start(wanted := spec("a", gpu_count=2))
    replica = ready(world, "a")
    assert list(replica.stamps) == [R.REQUESTING_GPU, R.DOWNLOADING_MODEL, R.ENGINE_INITIALIZING, R.READY]
    assert all(earlier <= later for earlier, later in pairwise([before, *replica.stamps.values()]))
    assert (replica.replica_id, replica.deployment_id) == (wanted.replica_id, wanted.deployment_id)
    assert (len(replica.gpu_indices), replica.exited, replica.restarts) == (2, None, 0)
    assert replica.bytes_done == replica.bytes_total
    assert replica.address.startswith("127.0.0.1:")
    assert replica.node


def test_starting_twice_is_starting_once(world: World) -> None:
    world.driver.start(wanted := spec("a"))
    first = ready(world, "a")
    world.driver.start(wanted)
    (only,) = world.driver.observe().replicas
    assert (only.stamps, only.address, only.gpu_indices) == (first.stamps, first.address, first.gpu_indices)


def test_starting_what_has_ended_does_not_start_it_again(world: World) -> None:
    world.driver.start(wanted := spec("a"))
    world.driver.stop("a", 5)
    end = ended(world, "a")
    world.driver.start(wanted)
    assert world.driver.find("a") == end


def test_stopping_what_is_gone_succeeds(world: World) -> None:
    world.driver.stop("never-there", 1)
    world.driver.start(spec("a"))
    world.driver.stop("a", 5)
    world.driver.stop("a", 5)
    end = ended(world, "a")
    world.driver.stop("a", 5)
    assert world.driver.find("a") == end


def test_a_ready_replica_ends_when_asked_and_its_end_is_recorded(world: World) -> None:
    world.driver.start(spec("a"))
    stamps = ready(world, "a").stamps
    world.driver.stop("a", 5)
    end = ended(world, "a")
    assert end.exited is not None
    assert (end.state, end.healthy, end.exited.step) == (R.READY, False, "engine")
    assert end.exited.at >= stamps[R.READY]


def test_what_has_ended_is_listed_until_it_is_forgotten(world: World) -> None:
    world.driver.start(spec("a"))
    world.driver.stop("a", 5)
    ended(world, "a")
    assert [replica.name for replica in world.driver.observe().replicas] == ["a"]
    world.driver.forget("a")
    world.driver.forget("a")
    assert world.driver.find("a") is None
    assert world.driver.observe().replicas == ()


def test_what_still_runs_is_not_forgotten(world: World) -> None:
    world.driver.start(spec("a"))
    with pytest.raises(DriverError):
        world.driver.forget("a")
    assert world.driver.find("a") is not None


def test_an_engine_that_is_killed_leaves_an_exit_record(world: World) -> None:
    world.driver.start(spec("a"))
    ready(world, "a")
    world.kill_engine("a")
    exited = ended(world, "a").exited
    assert exited is not None
    assert (exited.code, exited.step) == (-9, "engine")


def test_a_replica_whose_supervisor_is_killed_ended_at_its_last_heartbeat(world: World) -> None:
    world.driver.start(spec("a"))
    ready(world, "a")
    world.kill_supervisor("a")
    end = ended(world, "a")
    assert end.exited is not None
    assert (end.exited.at, end.exited.code, end.healthy) == (end.heartbeat_at, None, False)
    assert world.driver.find("a") == end


@pytest.mark.parametrize(
    ("fault", "step", "reached"),
    [
        pytest.param("download", "download", R.DOWNLOADING_MODEL, id="download"),
        pytest.param("initialize", "engine", R.ENGINE_INITIALIZING, id="initialize"),
        pytest.param("out_of_memory", "engine", R.ENGINE_INITIALIZING, id="out of memory"),
        pytest.param("crash", "engine", R.READY, id="crash"),
    ],
)
def test_a_fault_ends_the_replica_in_its_step_with_its_code(
    world: World, fault: str, step: str, reached: ReplicaState
) -> None:
    world.driver.start(spec("a", behaviour=QUICK.model_copy(update={"fail": fault})))
    end = ended(world, "a")
    assert end.exited is not None
    assert (end.exited.code, end.exited.step, end.state) == (1, step, reached)
    assert end.log_tail


def test_another_driver_finds_the_replicas_again(world: World) -> None:
    world.driver.start(spec("a"))
    replica = ready(world, "a")
    seen = world.again().find("a")
    assert seen is not None
    assert (seen.stamps, seen.address, seen.healthy) == (replica.stamps, replica.address, True)
    world.again().stop("a", 5)
    ended(world, "a")


def test_another_installation_neither_sees_nor_stops_nor_forgets_a_replica(world: World) -> None:
    world.driver.start(spec("a"))
    ready(world, "a")
    other = world.of_another_installation()
    with contextlib.suppress(DriverError):
        assert other.observe().replicas == ()
    for call in (lambda: other.stop("a", 0), lambda: other.forget("a"), lambda: other.find("a")):
        with contextlib.suppress(DriverError):
            assert call() is None
    assert ready(world, "a").exited is None


def test_gpu_indices_of_live_replicas_never_overlap(world: World) -> None:
    for name in ("a", "b"):
        world.driver.start(spec(name, gpu_count=2))
    world.driver.start(spec("c", gpu_type="h100-sxm-80gb", gpu_count=2))
    held = [index for replica in world.driver.observe().replicas for index in replica.gpu_indices]
    assert len(held) == len(set(held)) == 6


def test_gpus_that_are_held_are_not_given_out(world: World) -> None:
    world.driver.start(spec("a"))
    (index,) = world.driver.observe().replicas[0].gpu_indices
    others = frozenset(range(2, 6)) - {index}
    held = others - {max(others)}
    world.driver.start(replace(spec("b"), held_gpu_indices=held))
    found = world.driver.find("b")
    assert found is not None
    assert found.gpu_indices == (max(others),)
    with pytest.raises(DriverError) as refused:
        world.driver.start(replace(spec("c"), held_gpu_indices=held))
    assert refused.value.retryable


def test_without_free_gpus_a_start_may_be_tried_again_and_then_succeeds(world: World) -> None:
    world.driver.start(spec("a", gpu_type="h100-sxm-80gb", gpu_count=2))
    with pytest.raises(DriverError) as refused:
        world.driver.start(spec("b", gpu_type="h100-sxm-80gb"))
    assert refused.value.retryable
    assert world.driver.find("b") is None
    world.driver.stop("a", 5)
    ended(world, "a")
    world.driver.start(spec("b", gpu_type="h100-sxm-80gb"))
    assert world.driver.find("b") is not None


@pytest.mark.parametrize("gpu_type", ["l4-24gb", "b200-180gb"])
def test_more_gpus_than_the_cluster_has_are_refused_for_good(world: World, gpu_type: str) -> None:
    with pytest.raises(DriverError) as refused:
        world.driver.start(spec("a", gpu_type=gpu_type, gpu_count=5))
    assert not refused.value.retryable


def test_capacity_is_the_declared_inventory_and_says_so(world: World) -> None:
    assert world.driver.capacity() == Capacity(GPUS, simulated=True)


def test_a_cluster_that_can_be_used_passes_its_check(world: World) -> None:
    world.driver.check()
    assert world.driver.observe().complete


def test_logs_that_are_followed_end_with_the_replica(world: World) -> None:
    world.driver.start(spec("a", behaviour=QUICK.model_copy(update={"fail": "initialize"})))
    lines = list(world.driver.logs("a", follow=True, tail=100))
    assert ended(world, "a").log_tail.splitlines() == [line.text for line in lines]
    assert all(isinstance(line.at, datetime) and line.at.tzinfo == UTC for line in lines)


def test_only_the_last_lines_of_a_log_are_shown_when_asked(world: World) -> None:
    world.driver.start(spec("a"))
    ready(world, "a")
    every = list(world.driver.logs("a", follow=False, tail=100))
    assert list(world.driver.logs("a", follow=False, tail=1)) == every[-1:]
    assert list(world.driver.logs("unknown", follow=False, tail=5)) == []
