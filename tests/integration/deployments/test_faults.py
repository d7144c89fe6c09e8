"""What a cluster gets wrong, a console that was away, kills, lost leases: the same planner, on a bad day."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest
from django.db import connection

from deployments import services
from deployments.drivers.base import DriverError
from deployments.models import Cluster, Deployment, Endpoint, Replica, ReplicaPhase, WorkItem
from deployments.reconciler import leases, reconcile_pass, snapshot_loader
from deployments.reconciler.execute import apply
from deployments.reconciler.plan import plan
from deployments.routing.publish import publish_all
from deployments.states import DeploymentStatus, ReplicaState
from tests.integration.deployments.conftest import NOW
from tests.integration.deployments.failpoints import FAILPOINTS, Killed, dies_at
from tests.integration.deployments.readings import a_gateway_is_alive, routes, states, status
from tests.integration.deployments.scripted_cluster import ScriptedCluster

pytestmark = pytest.mark.django_db(transaction=True)
R, S = ReplicaState, DeploymentStatus


# What a cluster gets wrong


def test_a_start_that_fails_for_now_is_asked_for_again(console):
    console.cluster.start_error = DriverError("busy", retryable=True)
    deployment = console.create()
    console.tick(times=2)
    console.cluster.start_error = None
    console.tick()
    assert len(console.cluster.running()) == 1
    assert states(deployment) == [R.REQUESTING_GPU]


def test_what_is_terminated_before_it_could_start_is_not_asked_for_again(console):
    console.cluster.start_error = DriverError("busy", retryable=True)
    deployment = console.create()
    console.tick()
    console.terminate(deployment)
    console.cluster.calls.clear()
    console.tick(times=2)
    assert (status(deployment), states(deployment)) == (S.TERMINATED, [R.STOPPED])
    assert "start" not in [call for call, _ in console.cluster.calls]


def test_a_revision_that_this_release_cannot_read_fails_alone(console):
    broken, sound = console.create("broken"), console.create("sound")
    broken.revision.spec["engine"]["name"] = "gone"
    broken.revision.save()
    console.tick(1, times=30)
    assert (status(broken), broken.cause["code"]) == (S.FAILED, "start_refused")
    assert status(sound) == S.DEPLOYING


def test_a_start_that_reports_an_error_but_happened_is_adopted(console):
    console.cluster.start_error = DriverError("timed out", retryable=True)
    console.cluster.start_happens_despite_error = True
    deployment = console.create()
    console.tick()
    console.cluster.reach(R.READY)
    console.tick()
    assert (status(deployment), len(console.cluster.running())) == (S.RUNNING, 1)


def test_a_stale_listing_neither_kills_nor_duplicates(console):
    console.cluster.staleness_seconds = 30
    deployment = console.create(replicas=2)
    console.cluster.listing = console.cluster.observe()
    console.tick(times=20)
    assert len(deployment.replicas.all()) == len(console.cluster.running()) == 2


def test_a_deployment_counts_as_observed_when_the_listing_was_made_not_when_it_came(console):
    deployment = console.create()
    console.tick()
    console.cluster.listing = console.cluster.observe()
    listed_at = console.cluster.listing.listed_at
    console.tick(6)
    deployment.work.refresh_from_db()
    assert deployment.work.observed_at == listed_at


def test_a_cluster_out_of_reach_changes_nothing(console):
    deployment = console.create()
    console.run(deployment)
    console.cluster.reachable = False
    console.tick(6, times=3)
    assert (status(deployment), states(deployment)) == (S.RUNNING, [R.READY])


def test_what_runs_without_a_live_row_is_stopped_and_forgotten(console, cluster):
    deployment = console.create()
    replica = console.run(deployment)
    Replica.objects.filter(pk=replica.pk).update(state=R.STOPPED)
    reconcile_pass.sweep_cluster(cluster, lambda _: console.cluster, console.now)
    assert console.cluster.running() == []
    reconcile_pass.sweep_cluster(cluster, lambda _: console.cluster, console.now)
    assert console.cluster.replicas == {}


@pytest.fixture
def hung(console, cluster, settings):
    """A second cluster, which never answers, behind an endpoint of its own; returns a deployment on it."""
    settings.CLUSTER_CALL_SECONDS = 0.2
    released = threading.Event()
    second = Cluster.objects.create(name="hung", driver=Cluster.Driver.MEMORY, simulated=True)
    endpoint = Endpoint.objects.create(name="hung", base_url="http://127.0.0.1:2/v1", cluster=second)
    deployment = console.create("hung")
    deployment.endpoint = endpoint
    deployment.save(update_fields=["endpoint"])
    silent = ScriptedCluster(console.now)
    silent.observe = lambda: released.wait(60)
    console.clusters[second.pk] = silent
    yield deployment
    released.set()


def test_a_cluster_whose_listing_hangs_holds_no_other_up(console, cluster, hung):
    sound = console.create("sound")
    console.run(sound)
    for _ in range(3):
        console.tick(6)
        reconcile_pass.sweep_clusters(console.now, console.driver)
    assert (status(sound), status(hung)) == (S.RUNNING, S.PENDING)
    assert hung.pending_reason["code"] == "cluster_unreachable"
    assert [thread.name for thread in threading.enumerate() if thread.name == "cluster observe"] == ["cluster observe"]


def test_a_driver_that_breaks_makes_its_cluster_unreachable_and_no_other(console, cluster, hung):
    console.clusters[Cluster.objects.get(name="hung").pk].observe = lambda: {}["no such entry"]
    sound = console.create("sound")
    console.run(sound)
    assert (status(sound), status(hung)) == (S.RUNNING, S.PENDING)


# The console was away


def test_a_night_switched_off_is_neither_billed_nor_counted(console):
    deployment = console.create()
    replica = console.run(deployment)
    console.tick(5)
    evening = console.now
    console.cluster.exit(replica.name, None, at=evening)
    console.tick(15 * 3600)
    replica.refresh_from_db()
    assert (replica.state, replica.released_at, replica.cause) == (R.STOPPED, evening, None)
    assert states(deployment) == [R.STOPPED, R.REQUESTING_GPU]
    assert not ReplicaPhase.objects.filter(replica=replica, ended_at__gt=evening).exists()


def test_replicas_that_ran_on_while_the_console_was_away_are_found_again(console):
    deployment = console.create()
    replica = console.run(deployment)
    console.tick(15 * 3600)
    assert (status(deployment), console.cluster.running()) == (S.RUNNING, [replica.name])


# The console was slow


def test_a_pass_that_has_no_time_left_for_logs_stops_replicas_without_them(console, settings):
    deployment = console.create()
    console.tick()
    console.cluster.reach(R.DOWNLOADING_MODEL)
    console.tick()
    replica = deployment.replicas.get()
    console.terminate(deployment)
    settings.LEASE_SECONDS = 0
    console.tick()
    replica.refresh_from_db()
    assert (replica.state, replica.log_tail, console.cluster.running()) == (R.STOPPING, "", [])
    settings.LEASE_SECONDS = 30
    console.tick()
    replica.refresh_from_db()
    assert replica.state == R.STOPPED
    assert replica.log_tail


def test_an_unhealthy_engine_is_stopped_however_late_the_passes_come(console):
    deployment = console.create()
    console.run(deployment)
    console.cluster.reach(R.READY, healthy=False)
    console.tick_late(90)
    console.tick_late(90)
    assert states(deployment) == [R.STOPPING]
    assert deployment.replicas.get().cause["code"] == "unhealthy"


def test_a_kill_is_a_failure_however_late_the_pass_comes(console):
    deployment = console.create()
    replica = console.run(deployment)
    console.cluster.exit(replica.name, -9)
    console.tick_late(90)
    replica.refresh_from_db()
    assert (replica.state, replica.cause["code"]) == (R.FAILED, "engine_exited")


def test_a_replica_that_every_pass_sees_ends_at_the_last_of_them(console):
    deployment = console.create()
    replica = console.run(deployment)
    console.tick(5, times=3)
    last = console.now
    del console.cluster.replicas[replica.name]
    console.tick(5)
    replica.refresh_from_db()
    assert (replica.state, replica.state_since) == (R.UNKNOWN, last)
    services.declare_replica_gone(replica, by=console.user, now=console.now)
    console.tick()
    replica.refresh_from_db()
    assert (replica.state, replica.released_at) == (R.FAILED, last)


# What a pass writes


def test_a_pass_over_an_idle_deployment_writes_its_work_item_alone(console, store):
    a_gateway_is_alive(store)
    deployment = console.create_range(1, 2)
    console.run(deployment)
    console.tick(6, times=15)

    def written():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_force_next_flush()")
            cursor.execute(
                "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del, n_tup_hot_upd FROM pg_stat_user_tables"
                " WHERE relname LIKE 'deployments_%%'"
            )
            return {table: (rows, hot) for table, rows, hot in cursor.fetchall()}

    before, memory = written(), WorkItem.objects.get().autoscaler
    console.tick(6, times=5)
    after = written()
    changes = {table: tuple(a - b for a, b in zip(after[table], before[table], strict=True)) for table in after}
    changes = {table: counts for table, counts in changes.items() if any(counts)}
    heartbeats = changes.pop("deployments_workerheartbeat")
    assert heartbeats == (5, 5)
    assert changes == {"deployments_workitem": (10, 10)}  # each pass claims and releases; no index is written
    assert WorkItem.objects.get().autoscaler == memory


# Kills and leases


@pytest.mark.parametrize("where", FAILPOINTS)
def test_a_kill_while_starting_leaves_no_orphan_and_no_double(console, where):
    deployment = console.create(replicas=2)
    if where in ("before_stop", "after_stop"):
        console.tick()
    else:
        with pytest.raises(Killed):
            console.tick(failpoint=dies_at(where))
    console.tick(31)
    console.cluster.reach(R.READY)
    console.tick(times=2)
    assert (status(deployment), states(deployment)) == (S.RUNNING, [R.READY] * 2)
    assert console.cluster.running() == sorted(deployment.replicas.values_list("name", flat=True))


@pytest.mark.parametrize("where", [name for name in FAILPOINTS if "start" not in name])
def test_a_kill_while_stopping_is_made_good_by_the_next_pass(console, where):
    deployment = console.create(replicas=2)
    console.tick()
    console.cluster.reach(R.DOWNLOADING_MODEL)
    console.tick()
    console.terminate(deployment)
    with pytest.raises(Killed):
        console.tick(failpoint=dies_at(where))
    console.tick(31)
    console.tick(times=2)
    assert (status(deployment), states(deployment)) == (S.TERMINATED, [R.STOPPED] * 2)
    assert console.cluster.running() == []


def test_a_worker_that_lost_its_lease_writes_nothing_and_calls_nothing(console):
    deployment = console.create()
    now = console.cluster.pass_time(1)
    lease = leases.claim(now, limit=10, seconds=30)
    suspended = snapshot_loader.load(lease, lambda _: console.cluster, now)
    console.tick(31)
    calls, before = list(console.cluster.calls), Deployment.objects.values().get()
    apply(suspended, {pk: plan(snapshot) for pk, snapshot in suspended.snapshots.items()}, reconcile_pass.no_failpoint)
    assert console.cluster.calls == calls
    assert Deployment.objects.values().get() == before
    assert deployment.replicas.count() == 1


def test_the_lease_of_a_worker_that_was_killed_is_taken_over_as_soon_as_its_session_ends(console):
    deployment = console.create()
    now = console.cluster.pass_time(1)
    with ThreadPoolExecutor(max_workers=1) as worker:
        worker.submit(leases.claim, now, limit=10, seconds=30).result()
        session = worker.submit(lambda: connection.connection.info.backend_pid).result()
        assert leases.claim(now, limit=10, seconds=30).deployment_ids == ()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [session])
        assert leases.claim(now, limit=10, seconds=30).deployment_ids == (deployment.pk,)
        worker.submit(lambda: connection.close()).result()


def test_what_an_interrupted_pass_did_not_release_is_taken_over_by_the_next_one(console):
    deployment = console.create()
    with pytest.raises(Killed):
        console.tick(failpoint=dies_at("before_outcome"))
    console.tick()
    assert WorkItem.objects.get().lease_token is None
    assert console.cluster.running() == sorted(deployment.replicas.values_list("name", flat=True))


def test_two_workers_never_hold_the_same_deployment(console):
    console.create("first")
    console.create("second")
    now = console.cluster.pass_time(1)
    first, second = (leases.claim(now, limit=10, seconds=30) for _ in range(2))
    assert (len(first.deployment_ids), second.deployment_ids) == (2, ())


def test_a_failing_deployment_that_cannot_be_taken_over_does_not_keep_the_others_waiting(console):
    failing, sound = console.create("failing"), console.create("sound")
    corrupt(failing)
    console.tick()
    WorkItem.objects.filter(pk=failing.pk).update(next_due_at=NOW)
    assert leases.claim(console.now, limit=10, seconds=1).deployment_ids == (failing.pk,)
    now = console.cluster.pass_time(2)
    WorkItem.objects.filter(pk=failing.pk).update(next_due_at=now - timedelta(seconds=2))
    WorkItem.objects.filter(pk=sound.pk).update(next_due_at=now)
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": psycopg.Cursor}) as other:
        other.execute("SELECT 1 FROM deployments_deployment WHERE id = %s FOR UPDATE", [failing.pk])
        assert leases.claim(now, limit=10, seconds=30).deployment_ids == (sound.pk,)


def test_a_wakeup_that_comes_during_a_pass_is_not_lost(console):
    deployment = console.create()

    def press_the_button(name):
        if name == "after_intent":
            console.terminate(deployment)

    console.tick(failpoint=press_the_button)
    deployment.refresh_from_db()
    assert (deployment.status, deployment.work.next_due_at) == (S.TERMINATING, console.now)


def test_what_people_change_during_a_pass_is_not_overwritten(console):
    deployment = console.create()
    console.tick()
    Deployment.objects.update(woken_at=console.now)
    console.cluster.reach(R.READY)

    def press_the_button(name):
        if name == "before_intent":
            console.terminate(deployment)

    console.tick(failpoint=press_the_button)
    deployment.refresh_from_db()
    assert (deployment.version, deployment.woken_at, deployment.status) == (2, None, S.TERMINATING)


def test_a_pass_costs_the_same_number_of_queries_for_one_deployment_and_for_twenty(
    console, django_assert_max_num_queries
):
    for number in range(8):
        console.create(f"d{number}")
    console.tick()
    console.cluster.reach(R.READY)
    console.tick()
    assert Deployment.objects.filter(status=S.RUNNING).count() == 8
    with django_assert_max_num_queries(20):
        console.tick(6)
    console.cluster.reach(R.READY, healthy=False)
    with django_assert_max_num_queries(36):  # two publications, each a transaction that takes their locks
        console.tick(6)


def test_stamps_never_lie_in_the_future_and_phases_never_overlap(console):
    deployment = console.create()
    console.tick()
    later = console.now + timedelta(hours=1)
    console.cluster.now, real = later, console.cluster.now
    console.cluster.reach(R.READY)
    console.cluster.now = real
    console.tick()
    (replica,) = deployment.replicas.all()
    assert replica.state_since == replica.ready_at == console.now


# A deployment that breaks its pass


def corrupt(deployment):
    deployment.revision.spec = {}
    deployment.revision.save(update_fields=["spec"])


def test_a_deployment_that_cannot_be_planned_is_left_out_and_reported(console, caplog):
    broken, sound = console.create(name="broken"), console.create(name="sound")
    corrupt(broken)
    console.tick()
    console.cluster.reach(R.READY)
    console.tick()
    assert (status(sound), status(broken)) == (S.RUNNING, S.PENDING)
    work = broken.work
    assert (work.failures, work.failing_since, work.error) == (1, NOW + timedelta(seconds=1), "KeyError")
    assert work.next_due_at == NOW + timedelta(seconds=3)
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert str(broken.pk) in record.getMessage()
    assert record.exc_info


def test_a_deployment_whose_intent_breaks_costs_its_batch_one_repetition(console):
    ids = [console.create(name=f"d{number}").pk for number in range(4)]
    console.tick()
    corrupt(Deployment.objects.get(pk=ids[1]))
    for name in list(console.cluster.replicas):
        console.cluster.exit(name, 1)  # explaining the exit needs the revision, of this one in vain
    observe, listings = console.cluster.observe, []

    def observe_and_count():
        listings.append(console.now)
        return observe()

    console.cluster.observe = observe_and_count
    WorkItem.objects.update(next_due_at=console.now)
    console.tick()
    assert len(listings) <= 2
    assert list(WorkItem.objects.filter(failures__gt=0).values_list("pk", flat=True)) == [ids[1]]
    assert Replica.objects.filter(state=R.FAILED).count() == 3


def test_passes_that_break_come_later_and_later_and_a_good_one_clears_them(console):
    broken = console.create()
    spec = broken.revision.spec
    corrupt(broken)
    delays = []
    for _ in range(8):
        console.tick()
        work = WorkItem.objects.get()
        delays.append((work.next_due_at - console.now).total_seconds())
        console.cluster.now = work.next_due_at - timedelta(seconds=1)
    assert delays == [2, 4, 8, 16, 32, 60, 60, 60]
    broken.revision.spec = spec
    broken.revision.save(update_fields=["spec"])
    console.tick()
    work = WorkItem.objects.get()
    assert (status(broken), work.failures, work.failing_since, work.error) == (S.DEPLOYING, 0, None, "")


def test_a_deployment_that_breaks_its_pass_is_in_a_batch_of_its_own(console):
    broken, sound = console.create(name="broken"), console.create(name="sound")
    corrupt(broken)
    console.tick()
    console.tick(10)
    WorkItem.objects.update(next_due_at=console.now)
    batches = [leases.claim(console.now, limit=10, seconds=30).deployment_ids for _ in range(2)]
    assert sorted(batches) == sorted([(broken.pk,), (sound.pk,)])


@pytest.mark.parametrize("state", [None, R.DOWNLOADING_MODEL, R.READY])
def test_a_deployment_whose_revision_cannot_be_read_can_be_terminated(console, state):
    broken = console.create()
    if state:
        console.tick()
        console.cluster.reach(state)
        console.tick()
    corrupt(broken)
    console.tick(10)
    assert WorkItem.objects.get().failures == 1
    console.terminate(broken)
    console.tick(61, times=4)
    assert (status(broken), console.cluster.running()) == (S.TERMINATED, [])
    assert WorkItem.objects.get().failures == 0


def test_a_deployment_that_breaks_its_pass_waits_for_gpus_in_nobodys_way(console):
    console.create("holder", gpu="h100-sxm-80gb")
    console.tick()
    broken = console.create("broken", gpu="h100-sxm-80gb", count=2)
    console.tick()
    corrupt(broken)
    console.tick(6)
    small = console.create("small", gpu="h100-sxm-80gb")
    console.tick(6, times=2)
    assert status(small) == S.DEPLOYING


def test_routes_are_published_beside_a_revision_that_cannot_be_read(console, store):
    sound, broken = console.create("sound"), console.create("broken")
    console.run_all(sound)
    corrupt(broken)
    store.flushdb()
    publish_all()
    assert len(routes(store, sound)) == 1


def test_one_deployment_that_breaks_its_pass_does_not_hold_up_the_others(console):
    broken, sound = console.create(name="broken"), console.create(name="sound")
    start = console.cluster.start

    def start_unless_broken(spec):
        if spec.deployment_id == str(broken.pk):
            raise RuntimeError("a fault that nobody foresaw")
        start(spec)

    console.cluster.start = start_unless_broken
    console.tick()
    console.cluster.reach(R.READY)
    console.tick()
    assert status(sound) == S.RUNNING
    console.cluster.start = start
    console.tick(3)
    console.cluster.reach(R.READY)
    console.tick(times=2)
    assert status(broken) == S.RUNNING
