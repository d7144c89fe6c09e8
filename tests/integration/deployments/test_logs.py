"""Reading the logs of replicas: of one or all, of a time, with a text, from the cluster or from what was kept."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from deployments.drivers.base import DriverError, LogLine
from deployments.logs import line_query, stored_format
from deployments.logs.line_query import LogQuery
from deployments.logs.log_reader import Follower, read_deployment, read_replica
from deployments.models import Cluster, Deployment, Replica
from deployments.states import DeploymentStatus, ReplicaState
from tests.integration.api import world
from tests.integration.api.world import NOW
from tests.integration.deployments.scripted_cluster import ScriptedCluster

pytestmark = pytest.mark.django_db


def second(number: float):
    return NOW + timedelta(seconds=number)


def kept(*lines: tuple[float | None, str]) -> str:
    said = [LogLine(None if at is None else second(at), text) for at, text in lines]
    return stored_format.pack(said, 256 * 1024)


@pytest.fixture
def deployment(redis_url) -> Deployment:
    world.make_model("small", 8192)
    world.make_cluster()
    tenant = world.make_tenant("northwind")
    answer = world.Api(tenant.secrets["admin"]).post("/deployments", world.BODY)
    return Deployment.objects.get(pk=answer.json()["id"])


def ended(deployment: Deployment, *lines: tuple[float | None, str], at: float = 100) -> Replica:
    return world.make_replica(
        deployment, ReplicaState.STOPPED, released_at=second(at), log_tail=kept(*lines), node="node-1"
    )


def texts(lines) -> list[str]:
    return [line.text for line in lines]


FOUR = ((0, "zero"), (1, "one"), (2, "two"), (3, "three"))


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (LogQuery(), ["zero", "one", "two", "three"]),
        (LogQuery(tail=2), ["two", "three"]),
        (LogQuery(since=second(1)), ["one", "two", "three"]),
        (LogQuery(until=second(2)), ["zero", "one"]),
        (LogQuery(since=second(1), until=second(3)), ["one", "two"]),
        (LogQuery(since=second(1), until=second(1)), []),
        (LogQuery(since=second(3.000001)), []),
        (LogQuery(text="T"), ["two", "three"]),
        (LogQuery(text="t", tail=1), ["three"]),
        (LogQuery(text="."), []),
        (LogQuery(text="O", since=second(1)), ["one", "two"]),
    ],
    ids=["all", "the last", "since is included", "until is not", "both", "nothing between", "just after", "any case",
         "the last that match", "no pattern", "text and time"],
)  # fmt: skip
def test_lines_are_chosen_by_time_and_text(deployment, wanted, found):
    replica = ended(deployment, *FOUR)
    assert texts(read_replica(replica, wanted)) == found
    assert texts(read_deployment(deployment, wanted)) == found


def test_all_replicas_are_read_in_order_of_time(deployment):
    first = ended(deployment, (0, "a0"), (2, "a2"), (4, "a4"))
    second_one = ended(deployment, (1, "b1"), (2, "b2"), (5, "b5"))
    lines = read_deployment(deployment)
    assert sorted(texts(lines)) == ["a0", "a2", "a4", "b1", "b2", "b5"]
    assert [line.at for line in lines] == sorted(line.at for line in lines)
    assert {line.text[0]: line.replica_id for line in lines} == {"a": first.pk, "b": second_one.pk}
    assert texts(read_deployment(deployment, LogQuery(tail=2))) == ["a4", "b5"]


def test_a_line_without_time_stays_behind_the_one_before_it(deployment):
    ended(deployment, (0, "Traceback"), (None, "  File"), (5, "next"))
    ended(deployment, (2, "other"))
    assert texts(read_deployment(deployment)) == ["Traceback", "  File", "other", "next"]
    assert texts(read_deployment(deployment, LogQuery(until=second(2)))) == ["Traceback", "  File"]


def test_older_pages_follow_without_gap_or_repetition(deployment):
    ended(deployment, *((number // 3, f"a{number}") for number in range(20)))
    ended(deployment, *((number // 2, f"b{number}") for number in range(20)))
    whole = read_deployment(deployment)
    found, before = [], None
    while page := read_deployment(deployment, LogQuery(tail=7, before=before)):
        found = [*page, *found]
        before = page[0].position
    assert found == whole
    assert len(found) == 40


def test_ended_replicas_that_cannot_hold_the_last_lines_are_not_read(deployment, django_assert_max_num_queries):
    for number in range(30):
        ended(deployment, (number * 10, f"line {number}"), at=number * 10 + 1)
    assert texts(read_deployment(deployment, LogQuery(tail=2))) == ["line 28", "line 29"]
    with django_assert_max_num_queries(3):
        read_deployment(deployment, LogQuery(tail=2))


def test_hostile_lines_are_read_as_text(deployment):
    replica = ended(
        deployment, (0, "\x1b[31m<b>red</b>\x1b[0m"), (1, "a\x00b"), (2, "x" * 2**20), (3, "\ufffd\u202eok")
    )
    lines = texts(read_replica(replica))
    assert [lines[0], lines[1], lines[3]] == ["<b>red</b>", "a\ufffdb", "\ufffdok"]
    assert len(lines[2]) == line_query.MAX_CHARACTERS + 1
    assert texts(read_replica(replica, LogQuery(text="<B>RED"))) == ["<b>red</b>"]


def test_a_cluster_that_cannot_say_is_an_error_of_the_driver(deployment):
    world.make_replica(deployment, ReplicaState.READY)
    Cluster.objects.update(driver="nowhere")
    with pytest.raises(DriverError):
        read_deployment(deployment)


def test_a_cluster_that_hangs_is_an_error_after_its_time_limit_and_at_once_from_then_on(deployment, settings):
    settings.CLUSTER_CALL_SECONDS = 0.1
    replica = world.make_replica(deployment, ReplicaState.READY)
    released, calls = threading.Event(), []

    def hang(name, **_):
        calls.append(name)
        released.wait(5)
        return iter(())

    driver = ScriptedCluster(NOW)
    driver.logs = hang
    for _ in range(5):
        with pytest.raises(DriverError):
            read_replica(replica, drivers=lambda _: driver)
    assert calls == [replica.name]
    released.set()


class TestFollowing:
    def follow(self, deployment, replica=None, **wanted):
        return Follower(deployment, replica and replica.pk, LogQuery(**wanted))

    def test_each_line_is_told_once_until_the_replica_has_ended(self, deployment):
        replica = world.make_replica(deployment, ReplicaState.READY, log_tail=kept(*FOUR[:2]))
        follower = self.follow(deployment, replica)
        assert (texts(follower.poll()), follower.is_finished) == (["zero", "one"], False)
        Replica.objects.update(log_tail=kept(*FOUR[:2], (1, "again"), (2, "two")))
        assert texts(follower.poll()) == ["again", "two"]
        assert texts(follower.poll()) == []
        Replica.objects.update(log_tail=kept(*FOUR[:2], (1, "again"), *FOUR[2:]), state=ReplicaState.STOPPED)
        assert (texts(follower.poll()), follower.is_finished) == (["three"], True)

    def test_the_last_lines_come_first_and_the_rest_is_not_repeated(self, deployment):
        ended(deployment, *FOUR)
        live = world.make_replica(deployment, ReplicaState.READY, log_tail=kept((10, "ten"), (11, "eleven")))
        follower = self.follow(deployment, tail=3)
        assert texts(follower.poll()) == ["three", "ten", "eleven"]
        Replica.objects.filter(pk=live.pk).update(log_tail=kept((11, "eleven"), (12, "twelve")))
        assert texts(follower.poll()) == ["twelve"]

    def test_only_what_is_sought_is_told(self, deployment):
        replica = world.make_replica(deployment, ReplicaState.READY, log_tail=kept(*FOUR))
        follower = self.follow(deployment, replica, text="t", since=second(3))
        assert texts(follower.poll()) == ["three"]
        Replica.objects.update(log_tail=kept(*FOUR, (4, "four"), (5, "ten")))
        assert texts(follower.poll()) == ["ten"]

    def test_a_replica_that_comes_and_goes_between_two_looks_is_told(self, deployment):
        world.make_replica(deployment, ReplicaState.READY, log_tail=kept((0, "here")))
        follower = self.follow(deployment)
        follower.poll()
        world.make_replica(
            deployment, ReplicaState.FAILED, log_tail=kept((5, "brief")), created_at=second(4), released_at=second(6)
        )
        assert texts(follower.poll()) == ["brief"]
        assert texts(follower.poll()) == []

    def test_the_log_of_all_is_finished_when_nothing_runs_or_will(self, deployment):
        replica = world.make_replica(deployment, ReplicaState.READY, log_tail=kept((0, "here")))
        follower = self.follow(deployment)
        follower.poll()
        Replica.objects.filter(pk=replica.pk).update(state=ReplicaState.STOPPED)
        follower.poll()
        assert not follower.is_finished
        world.end(deployment.pk, DeploymentStatus.TERMINATED)
        follower.poll()
        assert follower.is_finished
