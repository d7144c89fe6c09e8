"""The end of the console on this machine, and the next start."""

import pytest

from deployments.models import Cluster, DeploymentEvent
from deployments.reconciler.console_shutdown import stop_local_replicas
from deployments.states import ENDED, DeploymentStatus, ReplicaState
from tests.integration.deployments.readings import states

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def local(cluster):
    Cluster.objects.filter(pk=cluster.pk).update(driver=Cluster.Driver.LOCAL)


def test_local_replicas_stop_and_are_stamped_and_the_next_start_restores_them(console, local):
    deployment = console.create(replicas=2)
    console.run_all(deployment)
    now = console.cluster.pass_time(1)
    assert stop_local_replicas(now, lambda _: console.cluster) == []
    rows = deployment.replicas.all()
    assert [(row.state, row.stop_reason, row.released_at, row.cause) for row in rows] == [
        (ReplicaState.STOPPED, "console_off", now, None)
    ] * 2
    deployment.refresh_from_db()
    assert (deployment.desired_replicas, deployment.terminate_requested_at) == (2, None)
    console.tick(15 * 3600)
    console.cluster.reach(ReplicaState.READY)
    console.tick()
    deployment.refresh_from_db()
    assert deployment.status == DeploymentStatus.RUNNING
    assert not DeploymentEvent.objects.filter(kind="replica_failed").exists()


def test_what_does_not_end_in_time_is_named_and_found_by_the_next_start(console, local):
    deployment = console.create()
    replica = console.run(deployment)
    console.cluster.stop_works = False
    assert stop_local_replicas(console.cluster.pass_time(1), lambda _: console.cluster, timeout_seconds=0.2) == [
        replica.name
    ]
    replica.refresh_from_db()
    assert (replica.state, replica.released_at) == (ReplicaState.STOPPING, None)
    console.cluster.stop_works = True
    console.tick()
    console.tick()
    replica.refresh_from_db()
    assert replica.state == ReplicaState.STOPPED


def test_a_deployment_whose_configuration_cannot_be_read_stops_like_the_others(console, local):
    broken, sound = console.create("broken"), console.create("sound")
    console.run_all(broken)
    broken.revision.spec = {}
    broken.revision.save(update_fields=["spec"])
    assert stop_local_replicas(console.cluster.pass_time(1), lambda _: console.cluster) == []
    assert console.cluster.running() == []
    assert states(broken) == states(sound) == [ReplicaState.STOPPED]


def test_replicas_stop_even_if_that_cannot_be_recorded_and_the_next_start_records_it(console, local):
    deployment = console.create(replicas=2)
    console.run_all(deployment)
    logs = console.cluster.logs
    console.cluster.logs = lambda *_, **__: {}["no such entry"]
    assert stop_local_replicas(console.cluster.pass_time(1), lambda _: console.cluster) == []
    assert console.cluster.running() == []
    console.cluster.logs = logs
    console.tick(15 * 3600)
    assert deployment.replicas.filter(state__in=ENDED).count() == 2


def test_a_pass_that_is_under_way_writes_nothing_more(console, local):
    deployment = console.create()

    def end(name):
        if name == "before_outcome":
            stop_local_replicas(console.now, lambda _: console.cluster)

    console.tick(failpoint=end)
    assert [replica.state for replica in deployment.replicas.all()] == [ReplicaState.STOPPED]


def test_other_clusters_are_left_alone(console):
    deployment = console.create()
    console.run(deployment)
    assert stop_local_replicas(console.cluster.pass_time(1), lambda _: console.cluster) == []
    assert len(console.cluster.running()) == 1
