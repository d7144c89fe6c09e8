"""A cluster that hangs costs one time limit and one thread; what returns late is used."""

import threading
import time
import uuid
from concurrent.futures import Future

import pytest

from deployments.drivers.base import DriverError, Observation
from deployments.drivers.time_limit import TimeLimitedDriver
from tests.unit.deployments.snapshots import NOW


class Hanging:
    """A cluster whose calls return when `answer` is set."""

    staleness_seconds = 0.0

    def __init__(self):
        self.answer, self.calls, self.error = threading.Event(), [], None

    def observe(self):
        self._hang("observe")
        return Observation((), NOW)

    def find(self, name):
        self._hang("find")

    def start(self, spec):
        self._hang("start")

    def stop(self, name, grace_seconds):
        self._hang("stop")

    def forget(self, name):
        self._hang("forget")

    def logs(self, name, *, follow, tail, since=None):
        self._hang("logs")
        return iter(())

    def _hang(self, name):
        self.calls.append(name)
        self.answer.wait(30)
        if self.error:
            raise self.error


@pytest.fixture
def cluster():
    cluster = Hanging()
    yield cluster
    cluster.answer.set()


@pytest.fixture
def driver(cluster):
    return TimeLimitedDriver(cluster, uuid.uuid4(), 0.1)


CALLS = {
    "observe": lambda driver: driver.observe(),
    "find": lambda driver: driver.find("r"),
    "start": lambda driver: driver.start(None),
    "stop": lambda driver: driver.stop("r", 1),
    "forget": lambda driver: driver.forget("r"),
    "logs": lambda driver: driver.logs("r", tail=1),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_hangs_fails_after_the_limit_and_all_later_ones_at_once(cluster, driver, name):
    with pytest.raises(DriverError, match="within") as caught:
        CALLS[name](driver)
    assert caught.value.retryable
    began, threads = time.monotonic(), threading.active_count()
    for call in [*CALLS.values()] * 5:
        with pytest.raises(DriverError):
            call(driver)
    assert time.monotonic() - began < 0.1
    assert (cluster.calls, threading.active_count()) == ([name], threads)


def test_a_listing_that_returns_late_is_taken_by_the_next_observation(cluster, driver):
    with pytest.raises(DriverError):
        driver.observe()
    cluster.answer.set()
    _, listing = driver._cluster.overdue[0]
    listing.result(5)
    assert driver.observe() == Observation((), NOW)
    assert cluster.calls == ["observe"]
    driver.observe()
    assert cluster.calls == ["observe", "observe"]


def test_clusters_that_hang_cost_one_limit_together(cluster):
    drivers = [TimeLimitedDriver(cluster, uuid.uuid4(), 0.3) for _ in range(5)]
    began = time.monotonic()
    for driver in drivers:
        driver.begin_listing()
    for driver in drivers:
        with pytest.raises(DriverError):
            driver.observe()
    assert time.monotonic() - began < 0.9


class EndsAtItsLimit(Future):
    """A call that ends just after the wait for it gave up."""

    def result(self, timeout=None):
        if timeout is None:
            return super().result()
        self.set_result("in time after all")
        raise TimeoutError


def test_a_call_that_ends_at_the_very_limit_has_succeeded(driver):
    assert driver._wait("find", EndsAtItsLimit(), 0.1) == "in time after all"


@pytest.mark.parametrize(
    "error", [DriverError("no route", retryable=True), TimeoutError("its own"), KeyError("broken")]
)
def test_what_a_call_raises_is_raised_and_leaves_nothing_behind(cluster, driver, error):
    cluster.error = error
    cluster.answer.set()
    for _ in range(2):
        with pytest.raises(type(error)) as caught:
            driver.observe()
        assert caught.value is error
    assert cluster.calls == ["observe", "observe"]
