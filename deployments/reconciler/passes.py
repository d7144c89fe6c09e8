"""One pass of the reconciler over what is due, and the sweep of a cluster. `now` comes from the edge that calls."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q

from deployments.clusters import DriverLookup
from deployments.models import Cluster, Replica
from deployments.reconciler import calls, leases, observe
from deployments.reconciler.apply import apply
from deployments.reconciler.calls import Failpoint
from deployments.reconciler.leases import Lease
from deployments.reconciler.plan import plan
from deployments.reconciler.rows import LostRow
from deployments.reconciler.sweep import sweep
from deployments.states import ReplicaState

log = logging.getLogger(__name__)
SWEEP_SECONDS = 10


def nothing(name: str) -> None:
    """A failpoint at which nothing fails."""


def reconcile(now: datetime, drivers: DriverLookup, failpoint: Failpoint = nothing) -> int:
    """One pass for up to RECONCILE_BATCH due deployments; returns how many it had."""
    lease = leases.claim(now, limit=settings.RECONCILE_BATCH, seconds=settings.LEASE_SECONDS)
    if not lease.deployment_ids:
        return 0
    failpoint("claimed")
    try:
        _work(lease, now, drivers, failpoint)
    except Exception:
        if len(lease.deployment_ids) == 1:
            raise
        log.exception("A pass over %d deployments broke, each is tried alone", len(lease.deployment_ids))
        for pk in lease.deployment_ids:
            _work_alone(replace(lease, deployment_ids=(pk,)), now, drivers, failpoint)
    return len(lease.deployment_ids)


def _work(lease: Lease, now: datetime, drivers: DriverLookup, failpoint: Failpoint) -> None:
    batch = observe.observe(lease, drivers, now)
    plans = {pk: plan(snapshot) for pk, snapshot in batch.snapshots.items()}
    try:
        apply(batch, plans, failpoint)
    except LostRow as error:
        log.warning("Rows changed during a pass, looking again: %s", error)
        leases.give_up(lease, now)


def _work_alone(lease: Lease, now: datetime, drivers: DriverLookup, failpoint: Failpoint) -> None:
    """One deployment that breaks its pass keeps its lease until it expires; the others of its batch go on."""
    try:
        _work(lease, now, drivers, failpoint)
    except Exception:
        log.exception(
            "The pass over deployment %s broke, tried again when its lease has expired", lease.deployment_ids[0]
        )


def sweep_clusters(now: datetime, drivers: DriverLookup) -> None:
    """Every cluster that was not swept lately: stop what has no live row, forget what has been recorded."""
    for cluster in Cluster.objects.all():
        since = now - timedelta(seconds=SWEEP_SECONDS)
        due = Cluster.objects.filter(Q(observed_at=None) | Q(observed_at__lte=since), pk=cluster.pk)
        if due.update(observed_at=now):
            sweep_cluster(cluster, drivers, now)


def sweep_cluster(cluster: Cluster, drivers: DriverLookup, now: datetime) -> None:
    view = observe.look(cluster, drivers(cluster), now)
    rows = Replica.objects.filter(name__in=list(view.observed)).values_list("name", "state")
    found = sweep(view.observed.values(), {name: ReplicaState(state) for name, state in rows})
    for name in found.reap:
        log.warning("Replica %s runs in cluster %s without a live row: stopping it", name, cluster.name)
        calls.stop(view.driver, name, observe.policy().stop_grace_seconds)
    for name in found.forget:
        calls.forget(view.driver, name)
