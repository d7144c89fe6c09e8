"""One pass over due deployments (load → plan → apply), and the sweep of a cluster. The caller reads the clock."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import OperationalError

from deployments import worker_heartbeat
from deployments.cluster_drivers import DriverLookup, limited_driver
from deployments.drivers.base import DriverError
from deployments.models import Cluster, Replica
from deployments.notifications import notify_pages
from deployments.reconciler import execute, leases, snapshot_loader
from deployments.reconciler.execute import BrokenDeployments, Failpoint
from deployments.reconciler.leases import Lease
from deployments.reconciler.plan import plan
from deployments.reconciler.plan_actions import Action
from deployments.reconciler.replica_policy import find_orphans
from deployments.reconciler.state_writer import LostRow
from deployments.states import ReplicaState

log = logging.getLogger(__name__)
SWEEP_SECONDS = 10
RETRY_SECONDS = 1


def no_failpoint(name: str) -> None:
    """A failpoint at which nothing fails."""


def reconcile(now: datetime, drivers: DriverLookup, failpoint: Failpoint = no_failpoint) -> int:
    """One pass over up to RECONCILE_BATCH due deployments; returns how many there were.

    A deployment that breaks the pass is left out, reported and tried again later (`WorkItem.failures`); it costs the
    others at most one repetition.
    """
    worker_heartbeat.record(now)
    lease = leases.claim(now, limit=settings.RECONCILE_BATCH, seconds=settings.LEASE_SECONDS)
    if lease.deployment_ids:
        try:
            failpoint("claimed")
            _run_pass(lease, now, drivers, failpoint)
        finally:
            leases.unlock(lease)
    return len(lease.deployment_ids)


def _run_pass(lease: Lease, now: datetime, drivers: DriverLookup, failpoint: Failpoint) -> None:
    """Raises `DatabaseError` when the database is unavailable; the leases then end."""
    ids = lease.deployment_ids
    try:
        batch = snapshot_loader.load(lease, drivers, now)
        plans: dict[UUID, tuple[Action, ...]] = {}
        for pk, snapshot in batch.snapshots.items():
            with batch.attribute_errors(pk):
                plans[pk] = plan(snapshot)
        execute.apply(batch, plans, failpoint)
    except BrokenDeployments:
        rest = tuple(pk for pk in ids if pk not in batch.broken)
        _run_pass(replace(lease, deployment_ids=rest), now, drivers, failpoint)
    except LostRow as error:
        log.warning("Rows changed during a pass, tried again soon: %s", error)
        leases.release_all(lease, now + timedelta(seconds=RETRY_SECONDS))
        return
    except OperationalError:
        raise
    except Exception as error:
        if len(ids) == 1:
            _set_back(lease, ids[0], error, now)
            return
        log.exception("A pass over %d deployments failed, halves of them are tried", len(ids))
        for half in (ids[: len(ids) // 2], ids[len(ids) // 2 :]):
            _run_pass(replace(lease, deployment_ids=half), now, drivers, failpoint)
        return
    for pk, reason in batch.broken.items():
        _set_back(lease, pk, reason, now)


def _set_back(lease: Lease, pk: UUID, error: Exception, now: datetime) -> None:
    item = leases.set_back(lease, pk, error, now)
    if item is None:
        return
    log.error("Pass %d in a row over deployment %s failed, tried again later", item.failures, pk, exc_info=error)
    notify_pages([item.deployment])


def sweep_clusters(now: datetime, drivers: DriverLookup) -> None:
    """Sweep every cluster that was not swept within SWEEP_SECONDS."""
    for cluster in Cluster.objects.all():
        if leases.claim_sweep(cluster, now, seconds=SWEEP_SECONDS):
            sweep_cluster(cluster, drivers, now)


def sweep_cluster(cluster: Cluster, drivers: DriverLookup, now: datetime) -> None:
    """Stop replicas without a live row, and delete the provider's records of those that have ended."""
    listed = snapshot_loader.list_cluster(cluster, limited_driver(cluster, drivers), now)
    rows = Replica.objects.filter(name__in=list(listed.observed)).values_list("name", "state")
    orphans = find_orphans(listed.observed.values(), {name: ReplicaState(state) for name, state in rows})
    for name in orphans.running:
        log.warning("Replica %s runs in cluster %s without a live row: stopping it", name, cluster.name)
        try:
            listed.driver.stop(name, snapshot_loader.configured_policy().stop_grace_seconds)
        except DriverError as error:
            log.warning("Replica %s was not stopped, tried again soon: %s", name, error)
    for name in orphans.ended:
        try:
            listed.driver.forget(name)
        except DriverError as error:
            log.warning("The record of replica %s stays for now: %s", name, error)
