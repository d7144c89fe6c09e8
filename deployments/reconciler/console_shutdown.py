"""Stops the local replicas when the console shuts down. Desired state stays, so the next start restores them.

Call it when no worker runs any more: a worker would begin to restore them at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from deployments.cluster_drivers import DriverLookup, configured_drivers
from deployments.codes import StopReason
from deployments.models import Cluster, Replica
from deployments.reconciler import execute, leases, snapshot_loader
from deployments.reconciler.plan_actions import Action, End, Stop
from deployments.reconciler.reconcile_pass import no_failpoint
from deployments.reconciler.snapshot_loader import Batch
from deployments.states import LIVE, ReplicaState

log = logging.getLogger(__name__)
TIMEOUT_SECONDS, GRACE_SECONDS, POLL_SECONDS = 6.0, 2.0, 0.1
LEASE_SECONDS = 15.0


def stop_local_replicas(
    now: datetime, drivers: DriverLookup | None = None, timeout_seconds: float = TIMEOUT_SECONDS
) -> list[str]:
    """Stop every replica of the local clusters; returns the names of those that did not end in time, or whose cluster
    cannot be used now."""
    began, drivers = time.monotonic(), drivers or configured_drivers()
    batch = _load_local(now, drivers)
    if not batch.replicas:
        return []
    batch.policy = replace(batch.policy, stop_grace_seconds=GRACE_SECONDS)
    stops = _plan(batch, lambda replica: _decide_stop(batch, replica))
    try:
        execute.apply(batch, stops, no_failpoint)
    except Exception:
        log.exception("The stops cannot be recorded; the replicas are stopped, and the next start finds them ended")
        _stop_unrecorded(batch, stops)
    while _list_running(batch) and time.monotonic() - began < timeout_seconds:
        time.sleep(POLL_SECONDS)
        for cluster in batch.clusters.values():
            cluster.observed = snapshot_loader.list_cluster(cluster.cluster, cluster.driver, now).observed
    last = _load_local(now + timedelta(seconds=time.monotonic() - began), drivers)
    try:
        execute.apply(last, _plan(last, lambda replica: _decide_end(last, replica)), no_failpoint)
    except Exception:
        log.exception("The ends of replicas cannot be recorded; the next start records them")
    return sorted(_list_running(last) + _list_unreachable(last))


def _load_local(now: datetime, drivers: DriverLookup) -> Batch:
    live = Replica.objects.filter(state__in=LIVE, cluster__driver=Cluster.Driver.LOCAL)
    ids = set(live.values_list("deployment_id", flat=True))
    batch = snapshot_loader.load(leases.seize(ids, now, seconds=LEASE_SECONDS), drivers, now)
    batch.broken.clear()  # what cannot be planned can be stopped: that needs no configuration
    return batch


def _plan(batch: Batch, decide: Callable[[Replica], Action | None]) -> dict[UUID, list[Action]]:
    plans: dict[UUID, list[Action]] = {pk: [] for pk in batch.deployments}
    for replica in batch.replicas.values():
        if replica.state in LIVE and (action := decide(replica)):
            plans[replica.deployment_id].append(action)
    return plans


def _stop_unrecorded(batch: Batch, stops: Mapping[UUID, Sequence[Action]]) -> None:
    """What this console has written or called before is not known; stopping twice is stopping once."""
    for action in (action for plan in stops.values() for action in plan if isinstance(action, Stop)):
        replica = batch.replicas[UUID(action.replica_id)]
        try:
            batch.clusters[replica.cluster_id].driver.stop(replica.name, GRACE_SECONDS)
        except Exception:
            log.exception("Replica %s was not stopped", replica.name)


def _decide_stop(batch: Batch, replica: Replica) -> Stop | None:
    if replica.state == ReplicaState.UNKNOWN or not batch.clusters[replica.cluster_id].listing.reachable:
        return None
    return Stop(str(replica.pk), StopReason.CONSOLE_OFF)


def _decide_end(batch: Batch, replica: Replica) -> End | None:
    """At the provider's exit time; one that was never seen did not start."""
    cluster = batch.clusters[replica.cluster_id]
    seen = cluster.observed.get(replica.name)
    if seen and seen.exited:
        return End(str(replica.pk), seen.exited.at, seen.exited)
    observed_at = batch.deployments[replica.deployment_id].work.observed_at
    was_seen = snapshot_loader.last_seen_at(replica, observed_at) is not None
    if seen is None and not was_seen and cluster.listing.reachable and cluster.listing.complete:
        return End(str(replica.pk), replica.created_at)
    return None


def _list_running(batch: Batch) -> list[str]:
    names = {row.name for row in batch.replicas.values()}
    observed = (replica for cluster in batch.clusters.values() for replica in cluster.observed.values())
    return [replica.name for replica in observed if replica.exited is None and replica.name in names]


def _list_unreachable(batch: Batch) -> list[str]:
    rows = (row for row in batch.replicas.values() if row.state in LIVE)
    return [row.name for row in rows if not batch.clusters[row.cluster_id].listing.reachable]
