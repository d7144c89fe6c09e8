"""The memory driver does what it is told: faults, scripts, its clock."""

from datetime import UTC, datetime, timedelta

import pytest

from deployments.drivers.base import DriverError, Launch, ReplicaSpec
from deployments.drivers.memory import MemoryDriver, Script
from deployments.states import ReplicaState

R = ReplicaState
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Cluster:
    """A memory driver with a clock by hand."""

    def __init__(self, script: Script = Script()) -> None:
        self.now = NOON
        self.driver = MemoryDriver({"l4-24gb": 2}, lambda: self.now, lambda spec: script)

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def start(self, name: str = "a") -> None:
        launch = Launch(("engine",), "/health", "/metrics", download=("download",))
        self.driver.start(ReplicaSpec(name, f"id-{name}", "deployment", "demo", "l4-24gb", 1, launch))

    def state(self, name: str = "a") -> ReplicaState | None:
        seen = self.driver.find(name)
        return seen.state if seen else None


@pytest.mark.parametrize(
    ("seconds", "state"),
    [
        (0, R.REQUESTING_GPU),
        (1, R.DOWNLOADING_MODEL),
        (3, R.ENGINE_INITIALIZING),
        (4.9, R.ENGINE_INITIALIZING),
        (5, R.READY),
    ],
)
def test_phases_begin_when_the_script_says(seconds: float, state: ReplicaState) -> None:
    cluster = Cluster(Script(request_seconds=1, download_seconds=2, initialize_seconds=2))
    cluster.start()
    cluster.wait(seconds)
    assert cluster.state() is state


def test_progress_grows_with_the_download() -> None:
    cluster = Cluster(Script(download_seconds=4))
    cluster.start()
    cluster.wait(1)
    seen = cluster.driver.find("a")
    assert seen is not None
    assert (seen.bytes_done, seen.bytes_total) == (250_000, 1_000_000)


def test_a_refused_start_creates_nothing_and_a_lost_answer_hides_what_was_created() -> None:
    cluster = Cluster()
    cluster.driver.faults.refuse = 1
    with pytest.raises(DriverError):
        cluster.start()
    assert cluster.state() is None
    cluster.driver.faults.lose_answers = 1
    with pytest.raises(DriverError):
        cluster.start()
    assert cluster.state() is R.DOWNLOADING_MODEL


def test_a_frozen_listing_shows_the_past_while_a_look_up_tells_the_truth() -> None:
    cluster = Cluster(Script(download_seconds=0, initialize_seconds=1))
    cluster.driver.faults.frozen_at = NOON
    cluster.wait(1)
    cluster.start()
    seen = cluster.driver.observe()
    assert (seen.replicas, seen.listed_at, seen.complete) == ((), NOON, True)
    assert cluster.state() is R.ENGINE_INITIALIZING


@pytest.mark.parametrize("admits", [True, False])
def test_a_listing_may_leave_replicas_out_and_say_so_or_not(admits: bool) -> None:
    cluster = Cluster()
    cluster.start()
    cluster.driver.faults.hidden = {"a"}
    cluster.driver.faults.admits = admits
    seen = cluster.driver.observe()
    assert (seen.replicas, seen.complete) == ((), not admits)


def test_nothing_can_be_asked_of_a_cluster_that_is_unreachable() -> None:
    cluster = Cluster()
    cluster.driver.faults.unreachable = True
    for call in (cluster.driver.observe, cluster.start, cluster.driver.check, cluster.state):
        with pytest.raises(DriverError):
            call()


@pytest.mark.parametrize(("stop_seconds", "code", "after"), [(1, 0, 1), (9, -9, 5)])
def test_stopping_takes_its_time_and_is_cut_short_by_the_grace(stop_seconds: float, code: int, after: float) -> None:
    cluster = Cluster(Script(stop_seconds=stop_seconds))
    cluster.start()
    cluster.wait(10)
    cluster.driver.stop("a", 5)
    cluster.wait(20)
    seen = cluster.driver.find("a")
    assert seen is not None
    assert seen.exited is not None
    assert (seen.exited.code, seen.exited.at) == (code, NOON + timedelta(seconds=10 + after))


def test_what_vanished_left_no_record() -> None:
    cluster = Cluster()
    cluster.start()
    cluster.driver.vanish("a")
    assert cluster.state() is None


def test_watching_tells_what_changed_between_two_looks() -> None:
    cluster = Cluster(Script(download_seconds=1))
    cluster.start()
    wakeups = cluster.driver.watch()
    assert next(wakeups).deployment_id == "deployment"
    cluster.wait(1)
    assert next(wakeups).deployment_id == "deployment"
    assert list(wakeups) == []
