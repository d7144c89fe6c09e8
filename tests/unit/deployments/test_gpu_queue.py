"""First come, first served, and the reason that the others read."""

from datetime import UTC, datetime, timedelta

from deployments.codes import Reason
from deployments.reconciler.gpu_queue import Grant, Pool, Waiter, allocate

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def pool(free, total=8):
    return Pool("H100", total, free)


def waiter(name, gpu_count, replicas=1, held=0):
    """Named after the minute at which it came."""
    return Waiter(name, NOON + timedelta(minutes=int(name)), gpu_count, replicas, held)


def queued(gpu_count, replicas, free):
    return Reason("gpu_queue", gpu="H100", gpu_count=gpu_count, replicas=replicas, free=free, total=8)


def test_who_fits_gets_all_it_wants():
    assert allocate(pool(8), [waiter("1", 2, replicas=3)]) == {"1": Grant(3)}


def test_the_reason_names_what_is_wanted_and_what_is_free():
    assert allocate(pool(2), [waiter("1", 4)]) == {"1": Grant(0, queued(4, 1, free=2))}


def test_a_part_is_granted_and_the_rest_waits():
    assert allocate(pool(5), [waiter("1", 2, replicas=3)]) == {"1": Grant(2, queued(2, 1, free=1))}


def test_nobody_overtakes_with_a_smaller_wish():
    granted = allocate(pool(2), [waiter("2", 1), waiter("1", 4)])
    assert granted["2"] == Grant(0, queued(1, 1, free=2))


def test_who_can_never_be_served_as_things_are_lets_others_pass():
    granted = allocate(pool(1), [waiter("1", 4, held=8), waiter("2", 1)])
    assert (granted["1"].replicas, granted["2"].replicas) == (0, 1)
    assert granted["1"].reason.code == "gpu_pool_too_small"


def test_the_earlier_one_wins_whatever_the_order_of_the_list():
    granted = allocate(pool(1), [waiter("2", 1), waiter("1", 1)])
    assert [granted[name].replicas for name in ("1", "2")] == [1, 0]


def test_an_empty_pool_grants_nothing():
    assert allocate(pool(0, total=0), [waiter("1", 1)])["1"].replicas == 0
