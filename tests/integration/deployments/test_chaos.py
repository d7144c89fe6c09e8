"""Seeded misfortune: workers die at failpoints, starts fail or lie, listings go stale, engines crash, people terminate.
When it is over, every process has a live row, every live row a process, and the history holds together."""

import random
from itertools import pairwise

import pytest

from deployments.drivers.base import DriverError
from deployments.models import Deployment, Replica
from deployments.reconciler import passes
from deployments.states import ENDED, LIVE, DeploymentStatus, ReplicaState
from tests.integration.deployments.kills import FAILPOINTS, Killed, dies_at

pytestmark = pytest.mark.django_db(transaction=True)
R, S = ReplicaState, DeploymentStatus
STEPS = 40


def misfortune(console, chance):
    """One random thing happens to the cluster or to people's wishes."""
    cluster = console.cluster
    running = cluster.running()
    match chance.randrange(8):
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
        case 5:
            console.create(f"d{Deployment.objects.count()}", replicas=chance.randint(1, 3), count=chance.randint(1, 3))
        case 6 if deployments := list(Deployment.objects.order_by("created_at")):
            console.terminate(chance.choice(deployments))
        case _:
            cluster.reach(chance.choice([R.DOWNLOADING_MODEL, R.ENGINE_INITIALIZING, R.READY]), *running[:2])


def heal(console, cluster):
    console.cluster.start_error, console.cluster.stop_works = None, True
    for _ in range(60):
        console.tick(6)
        running = [name for name, one in console.cluster.replicas.items() if one.exited is None]
        if running:
            console.cluster.reach(R.READY, *running)
        passes.sweep_cluster(cluster, lambda _: console.cluster, console.now)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_nothing_is_orphaned_and_the_history_holds(console, cluster, seed):
    chance = random.Random(seed)
    for _ in range(STEPS):
        misfortune(console, chance)
        failpoint = dies_at(chance.choice(FAILPOINTS)) if chance.random() < 0.3 else passes.nothing
        try:
            console.tick(chance.choice([0.5, 1, 5, 31]), failpoint=failpoint)
        except Killed:
            console.cluster.pass_time(chance.choice([0, 31]))
        used = sum(one.gpu_count for one in Replica.objects.filter(state__in=LIVE, gpu_type="l40s-48gb"))
        assert used <= 8
    heal(console, cluster)
    live = Replica.objects.filter(state__in=LIVE).order_by("name")
    assert console.cluster.running() == list(live.values_list("name", flat=True))
    for deployment in Deployment.objects.all():
        holds_gpus = deployment.replicas.filter(state__in=LIVE).exists()
        if deployment.terminate_requested_at:
            assert (deployment.status, holds_gpus) == (S.TERMINATED, False)
        else:
            assert deployment.status in (S.RUNNING, S.FAILED, S.PENDING, S.SCALING)
    for replica in Replica.objects.prefetch_related("phases"):
        phases = list(replica.phases.all())
        assert all(one.ended_at == later.started_at for one, later in pairwise(phases))
        assert all(one.ended_at is None or one.started_at < one.ended_at for one in phases)
        assert (replica.released_at is not None) == (replica.state in ENDED)
        assert replica.released_at is None or replica.released_at >= replica.created_at
        if replica.released_at and phases:
            assert phases[-1].ended_at == replica.released_at
