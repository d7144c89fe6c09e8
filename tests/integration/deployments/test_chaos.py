"""Seeded misfortune: workers die at failpoints, starts fail or lie, engines crash, people create, edit and terminate,
requests come and go, Redis restarts empty. When it is over, every process has a live row, every live row a process, all
run what was wanted last, and the history holds together."""

import random
from itertools import pairwise

import pytest

from deployments.drivers.base import DriverError
from deployments.models import Deployment, Replica
from deployments.reconciler import reconcile_pass
from deployments.states import ENDED, LIVE, DeploymentStatus, ReplicaState
from gateway import contract
from tests.integration.deployments.failpoints import FAILPOINTS, Killed, dies_at
from tests.integration.deployments.readings import a_gateway_is_alive, a_request_arrives, requests_run, requests_wait

pytestmark = pytest.mark.django_db(transaction=True)
R, S = ReplicaState, DeploymentStatus
STEPS = 30


def people(console, chance):
    """One random wish."""
    name, deployments = f"d{Deployment.objects.count()}", list(Deployment.objects.order_by("created_at"))
    wish = chance.randrange(5)
    if wish == 0 or not deployments:
        console.create(name, replicas=chance.randint(1, 3), count=chance.randint(1, 3))
    elif wish == 1:
        console.create_range(chance.randint(0, 1), chance.randint(2, 3), name)
    elif wish == 2:
        console.terminate(chance.choice(deployments))
    elif not (chosen := chance.choice(deployments)).terminate_requested_at:
        console.edit(chosen, engine={"context_length": chance.choice([1024, 2048, 8192])})


def callers(store, chance):
    """Requests wait, run or leave; now and then Redis restarts empty."""
    for deployment in Deployment.objects.all():
        match chance.randrange(6):
            case 0:
                a_request_arrives(store, deployment)
                requests_wait(store, deployment, chance.randint(1, 60), seconds=chance.choice([0, 5]))
            case 1:
                store.delete(contract.load_key(str(deployment.pk)), contract.slots_key(str(deployment.pk)))
            case 2 if replica := deployment.replicas.filter(state=R.READY).first():
                requests_run(store, deployment, replica, chance.randint(0, 16))
    if chance.random() < 0.05:
        store.flushdb()
    a_gateway_is_alive(store)


def misfortune(console, chance):
    """One random thing happens to the cluster."""
    cluster = console.cluster
    running = cluster.running()
    match chance.randrange(6):
        case 0 if running:
            cluster.exit(chance.choice(running), chance.choice([1, 137, None, -9]))
        case 1:
            cluster.start_error = DriverError("timed out", retryable=True)
            cluster.start_happens_despite_error = chance.random() < 0.5
        case 2:
            cluster.start_error = None
        case 3:
            cluster.stop_works = not cluster.stop_works
        case 4 if running:
            cluster.reach(R.READY, chance.choice(running), healthy=chance.random() < 0.7)
        case _:
            cluster.reach(chance.choice([R.DOWNLOADING_MODEL, R.ENGINE_INITIALIZING, R.READY]), *running[:2])


def heal(console, cluster, store):
    for deployment in Deployment.objects.all():
        store.delete(contract.load_key(str(deployment.pk)), contract.slots_key(str(deployment.pk)))
    console.cluster.start_error, console.cluster.stop_works = None, True
    for _ in range(45):
        a_gateway_is_alive(store)
        console.tick(6)
        running = [name for name, seen in console.cluster.replicas.items() if seen.exited is None]
        if running:
            console.cluster.reach(R.READY, *running)
        reconcile_pass.sweep_cluster(cluster, lambda _: console.cluster, console.now)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_nothing_is_orphaned_and_the_history_holds(console, cluster, store, seed):
    chance = random.Random(seed)
    for _ in range(STEPS):
        chance.choice([lambda: people(console, chance), lambda: misfortune(console, chance)])()
        callers(store, chance)
        failpoint = dies_at(chance.choice(FAILPOINTS)) if chance.random() < 0.3 else reconcile_pass.no_failpoint
        try:
            console.tick(chance.choice([0.5, 1, 5, 31]), failpoint=failpoint)
        except Killed:
            console.cluster.pass_time(chance.choice([0, 31]))
        used = sum(replica.gpu_count for replica in Replica.objects.filter(state__in=LIVE, gpu_type="l40s-48gb"))
        assert used <= 8
    heal(console, cluster, store)
    live = Replica.objects.filter(state__in=LIVE).order_by("name")
    assert console.cluster.running() == list(live.values_list("name", flat=True))
    for deployment in Deployment.objects.all():
        holds_gpus = deployment.replicas.filter(state__in=LIVE).exists()
        running = set(deployment.replicas.filter(state__in=LIVE).values_list("revision__spec_hash", flat=True))
        held = deployment.rollout_hold or deployment.failed_at or deployment.pending_since
        assert held or running <= {deployment.revision.spec_hash}
        if deployment.terminate_requested_at:
            assert (deployment.status, holds_gpus) == (S.TERMINATED, False)
        else:
            assert deployment.status in (S.RUNNING, S.FAILED, S.PENDING, S.SCALING, S.SLEEPING)
    for replica in Replica.objects.prefetch_related("phases"):
        phases = list(replica.phases.all())
        assert all(earlier.ended_at == later.started_at for earlier, later in pairwise(phases))
        assert all(phase.ended_at is None or phase.started_at < phase.ended_at for phase in phases)
        assert (replica.released_at is not None) == (replica.state in ENDED)
        assert replica.released_at is None or replica.released_at >= replica.created_at
        if replica.released_at and phases:
            assert phases[-1].ended_at == replica.released_at
