"""A replica of which the cluster has no record: nothing is concluded from that, until an operator declares it gone."""

import logging
from datetime import timedelta

import pytest

from deployments import services
from deployments.models import Deployment, DeploymentEvent, Replica
from deployments.reconciler import execute, leases, snapshot_loader
from deployments.reconciler.console_shutdown import stop_local_replicas
from deployments.services import NotEnded, NotNow
from deployments.states import DeploymentStatus, ReplicaState
from tests.integration.deployments.readings import kinds, routes, states, status

pytestmark = pytest.mark.django_db(transaction=True)
R, S = ReplicaState, DeploymentStatus


@pytest.fixture
def deployment(console):
    """Two replicas, the first of which lost its record."""
    deployment = console.create(replicas=2)
    first, _ = sorted(console.run_all(deployment), key=lambda replica: replica.name)
    console.cluster.forget(first.name)
    console.tick(6)
    return deployment


def unknown(deployment):
    return deployment.replicas.get(state=R.UNKNOWN)


def test_it_leaves_the_routes_and_keeps_its_gpus_and_nothing_takes_its_place(console, caplog, store, deployment):
    console.tick(6, times=5)
    replica = unknown(deployment)
    assert sorted(states(deployment)) == [R.READY, R.UNKNOWN]
    assert (status(deployment), deployment.pending_since) == (S.SCALING, None)
    assert [record.replica_id for record in routes(store, deployment)] == [
        str(deployment.replicas.get(state=R.READY).pk)
    ]
    assert (replica.serving, replica.released_at, replica.state_since) == (False, None, replica.last_seen_at)
    assert kinds(deployment).count("replica_unknown") == 1
    alarms = [record for when in ("setup", "call") for record in caplog.get_records(when)]
    (alarm,) = [record for record in alarms if record.levelno >= logging.ERROR]
    assert replica.name in alarm.getMessage()


def test_it_is_reported_only_once_it_is_recorded(console, caplog):
    replica = console.run(console.create())
    console.cluster.forget(replica.name)

    def change_its_row(name):
        if name == "before_intent":
            Replica.objects.update(state=R.DRAINING)

    console.tick(6, failpoint=change_its_row)  # the intent is rolled back
    assert "is unknown" not in caplog.text
    console.tick(6)
    replica.refresh_from_db()
    assert replica.state == R.UNKNOWN
    assert "is unknown" in caplog.text


def test_no_other_replica_is_given_its_gpus(console, deployment):
    other = console.create("other")
    console.tick()
    (started,) = other.replicas.all()
    assert console.cluster.specs[started.name].held_gpu_indices == {0}


def test_one_that_is_declared_gone_has_failed_as_vanished_and_is_replaced(console, deployment):
    replica = unknown(deployment)
    services.declare_replica_gone(replica, by=console.user, now=console.now)
    services.declare_replica_gone(replica, by=console.user, now=console.now)
    console.tick()
    replica.refresh_from_db()
    assert (replica.state, replica.cause["code"], replica.released_at) == (R.FAILED, "vanished", replica.last_seen_at)
    assert sorted(states(deployment)) == [R.FAILED, R.READY, R.REQUESTING_GPU]
    event = DeploymentEvent.objects.get(deployment=deployment, kind="replica_declared_gone")
    assert (event.actor, event.facts["replica_id"]) == (console.user.email, str(replica.pk))


def test_its_cause_is_not_why_the_deployment_fails(console, deployment):
    gone, failed = unknown(deployment), deployment.replicas.get(state=R.READY)
    before = console.now - timedelta(seconds=1)
    services.declare_replica_gone(gone, by=console.user, now=console.now)
    for replica, code, at in ((failed, "out_of_memory", before), (gone, "vanished", console.now)):
        deployment.replicas.filter(pk=replica.pk).update(state=R.FAILED, cause={"code": code}, released_at=at)
    lease = leases.seize([deployment.pk], console.now, seconds=30)
    batch = snapshot_loader.load(lease, console.driver, console.now)
    cause = execute.Intent(batch, {}, set())._latest_cause(batch.deployments[deployment.pk])
    assert cause == {"code": "out_of_memory"}


def test_a_record_that_appears_again_takes_it_back_into_service(console, deployment, store):
    replica = unknown(deployment)
    services.declare_replica_gone(replica, by=console.user, now=console.now)
    console.cluster.start(console.cluster.specs[replica.name])
    console.cluster.reach(R.READY, replica.name)
    console.tick(times=2)
    assert (states(deployment), status(deployment)) == ([R.READY] * 2, S.RUNNING)
    assert len(routes(store, deployment)) == 2
    assert "replica_found" in kinds(deployment)
    replica.refresh_from_db()
    assert replica.gone_declared_at is None


def test_only_what_is_unknown_can_be_declared_gone(console, deployment):
    with pytest.raises(NotNow, match="READY"):
        services.declare_replica_gone(deployment.replicas.get(state=R.READY), by=console.user, now=console.now)


def test_a_termination_waits_for_it(console, deployment):
    console.terminate(deployment)
    console.tick(30, times=5)
    assert (status(deployment), sorted(states(deployment))) == (S.TERMINATING, [R.STOPPED, R.UNKNOWN])
    services.declare_replica_gone(unknown(deployment), by=console.user, now=console.now)
    console.tick(times=2)
    assert status(deployment) == S.TERMINATED


def test_what_has_failed_is_not_deleted_while_one_is_left(console, deployment):
    deployment.replicas.filter(state=R.READY).update(state=R.STOPPED)
    deployment.refresh_from_db()
    deployment.status = S.FAILED
    deployment.save(update_fields=["status"])
    with pytest.raises(NotEnded, match="UNKNOWN"):
        services.delete(deployment, by=console.user, now=console.now)


def test_what_has_failed_is_not_deleted_while_replicas_stop(console):
    """One whose record disappears meanwhile would be UNKNOWN on a deployment that nobody finds any more."""
    deployment = console.create(replicas=2)
    console.run_all(deployment)
    deployment.replicas.update(state=R.STOPPING)
    Deployment.objects.update(status=S.FAILED, failed_at=console.now)
    with pytest.raises(NotEnded, match="not all of its replicas have stopped"):
        services.delete(deployment, by=console.user, now=console.now)
    console.terminate(deployment)
    console.tick(6, times=3)
    services.delete(deployment, by=console.user, now=console.now)
    assert Deployment.objects.get().deleted_at == console.now


def test_switching_off_does_not_stop_it(console, deployment, cluster):
    cluster.driver = cluster.Driver.LOCAL
    cluster.save()
    assert stop_local_replicas(console.cluster.pass_time(1), lambda _: console.cluster) == []
    assert sorted(states(deployment)) == [R.STOPPED, R.UNKNOWN]


def test_every_replica_that_left_an_exit_record_is_dead_however_many_there_are(console):
    deployment = console.create(replicas=3)
    for replica in console.run_all(deployment):
        console.cluster.exit(replica.name, None)
    console.tick(3600)
    assert sorted(states(deployment)) == [R.REQUESTING_GPU] * 3 + [R.STOPPED] * 3
    assert not Replica.objects.filter(state=R.UNKNOWN).exists()
