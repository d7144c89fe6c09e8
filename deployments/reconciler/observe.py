"""Reads everything that a pass decides on: one listing per cluster, one query per table. No writes.

The clusters are listed before the rows are read; what a listing does not show is looked up by name before its absence
counts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import F, Q

from deployments.clusters import DriverLookup
from deployments.drivers.base import Driver, DriverError, ObservedReplica
from deployments.models import Cluster, Deployment, Replica, Revision
from deployments.reconciler import places
from deployments.reconciler.autoscaler import Rules
from deployments.reconciler.leases import Lease
from deployments.reconciler.snapshot import DeploymentView, Listing, Policy, PoolView, ReplicaView, Snapshot
from deployments.routing import load
from deployments.states import LIVE, DeploymentStatus, ReplicaState

log = logging.getLogger(__name__)


@dataclass
class View:
    """One cluster, its driver, and what it said."""

    cluster: Cluster
    driver: Driver
    listing: Listing
    observed: dict[str, ObservedReplica] = field(default_factory=dict)


@dataclass
class Batch:
    """What a pass works on. Rows by id; replicas are the live ones and those that failed lately."""

    lease: Lease
    now: datetime
    policy: Policy
    epoch: str
    deployments: dict[UUID, Deployment]
    replicas: dict[UUID, Replica]
    views: dict[UUID, View]
    snapshots: dict[UUID, Snapshot]

    def view_of(self, deployment: Deployment) -> View:
        return self.views[deployment.endpoint.cluster_id]


def policy() -> Policy:
    return Policy(
        phase_deadline_seconds=settings.PHASE_DEADLINE_SECONDS,
        floor_mib_per_second=settings.PHASE_FLOOR_MIB_PER_SECOND,
        unhealthy_deadline_seconds=settings.UNHEALTHY_DEADLINE_SECONDS,
        backoff_seconds=settings.RESTART_BACKOFF_SECONDS,
        failures_before_failed=settings.FAILURES_BEFORE_FAILED,
        failure_window_seconds=settings.FAILURE_WINDOW_SECONDS,
        drain_seconds=settings.DRAIN_SECONDS,
        settle_seconds=settings.ROLLOUT_SETTLE_SECONDS,
        autoscaler=Rules(
            target_share=settings.AUTOSCALER_TARGET_SHARE,
            mean_seconds=settings.AUTOSCALER_MEAN_SECONDS,
            queue_wait_seconds=settings.AUTOSCALER_QUEUE_WAIT_SECONDS,
            sample_seconds=settings.AUTOSCALER_SAMPLE_SECONDS,
        ),
    )


def observe(lease: Lease, drivers: DriverLookup, now: datetime) -> Batch:
    """The batch with a snapshot of each leased deployment."""
    rules = policy()
    rows = Deployment.objects.filter(pk__in=lease.deployment_ids, lease_token=lease.token)
    rows = rows.select_related("organization", "endpoint__cluster", "revision", "gpu_type")
    deployments = {row.pk: row for row in rows}
    clusters = {row.endpoint.cluster for row in deployments.values()}
    views = {cluster.pk: look(cluster, drivers(cluster), now) for cluster in clusters}
    now = max([now, *(view.listing.listed_at for view in views.values())])  # a listing may be slow; stamps end at `now`
    replicas = {row.pk: row for row in _replicas(deployments, rules, now)}
    for view in views.values():
        _look_up(view, (row for row in replicas.values() if row.cluster_id == view.cluster.pk))
    batch = Batch(lease, now, rules, load.read_epoch(), deployments, replicas, views, {})
    batch.snapshots = _snapshots(batch)
    return batch


def look(cluster: Cluster, driver: Driver, now: datetime) -> View:
    """List the cluster; one that cannot be reached concludes nothing."""
    try:
        seen = driver.observe()
    except DriverError as error:
        log.warning("Cluster %s cannot be observed: %s", cluster.name, error)
        return View(cluster, driver, Listing(now, complete=False, reachable=False))
    listing = Listing(seen.listed_at, seen.complete, True, driver.staleness_seconds)
    return View(cluster, driver, listing, {one.name: one for one in seen.replicas})


def _replicas(deployments: Iterable[UUID], rules: Policy, now: datetime) -> Iterable[Replica]:
    """Live ones, and failed ones as far back as a chain of failures can reach."""
    slowest = rules.failure_window_seconds + sum(rules.phase_deadline_seconds.values())
    since = now - timedelta(seconds=slowest * rules.failures_before_failed)
    wanted = Q(state__in=LIVE) | Q(state=ReplicaState.FAILED, released_at__gte=since)
    return (
        Replica.objects.filter(wanted, deployment_id__in=list(deployments)).select_related("revision").defer("log_tail")
    )


def _look_up(view: View, replicas: Iterable[Replica]) -> None:
    """Ask by name for live replicas that the listing lacks; one that cannot be asked for makes it incomplete."""
    if not view.listing.reachable or not view.listing.complete:
        return
    for row in replicas:
        if row.name in view.observed or row.state not in LIVE:
            continue
        try:
            found = view.driver.find(row.name)
        except DriverError as error:
            log.warning("Replica %s cannot be looked up: %s", row.name, error)
            view.listing = replace(view.listing, complete=False)
            return
        if found is not None:
            view.observed[row.name] = found


def _snapshots(batch: Batch) -> dict[UUID, Snapshot]:
    loads = load.read_loads(pk for pk, row in batch.deployments.items() if _load_matters(row))
    rolling = _rolling(batch)
    pools = places.look(batch.deployments[pk] for pk in rolling)
    good = _good_revisions(pk for pk, row in batch.deployments.items() if pk in rolling or _never_ready(row))
    grouped: dict[UUID, list[ReplicaView]] = {pk: [] for pk in batch.deployments}
    for row in batch.replicas.values():
        grouped[row.deployment_id].append(replica_view(row))
    return {
        pk: Snapshot(
            deployment=deployment_view(row, good.get(pk)),
            replicas=tuple(grouped[pk]),
            observed=batch.view_of(row).observed,
            listing=batch.view_of(row).listing,
            policy=batch.policy,
            now=batch.now,
            load=loads.get(pk),
            pool=pools.get(pk, PoolView()),
        )
        for pk, row in batch.deployments.items()
    }


def _load_matters(row: Deployment) -> bool:
    return row.deleted_at is None and row.terminated_at is None


def _rolling(batch: Batch) -> set[UUID]:
    """Deployments with live replicas of another configuration than the wanted one."""
    wanted = {pk: row.revision.spec_hash for pk, row in batch.deployments.items() if row.revision}
    live = (row for row in batch.replicas.values() if row.state in LIVE)
    return {row.deployment_id for row in live if row.revision.spec_hash != wanted.get(row.deployment_id)}


def _never_ready(row: Deployment) -> bool:
    return row.revision is not None and row.revision.ready_at is None


def _good_revisions(ids: Iterable[UUID]) -> dict[UUID, str]:
    """While the wanted revision has to prove itself: the latest earlier one that was ready, configured otherwise."""
    wanted = F("deployment__revision__number"), F("deployment__revision__spec_hash")
    good = Revision.objects.filter(deployment__in=list(ids), ready_at__isnull=False, cause__isnull=True)
    earlier = good.filter(number__lt=wanted[0]).exclude(spec_hash=wanted[1])
    latest = earlier.order_by("deployment_id", "-number").distinct("deployment_id")
    return {deployment: str(pk) for deployment, pk in latest.values_list("deployment_id", "pk")}


def deployment_view(row: Deployment, good_revision_id: str | None = None) -> DeploymentView:
    assert row.revision, "every deployment has its first revision from the start"
    sleep_after = row.sleep_after_seconds
    return DeploymentView(
        id=str(row.pk),
        spec_hash=row.revision.spec_hash,
        gpu_count=row.revision.spec["gpu_count"],
        desired_replicas=row.desired_replicas,
        max_concurrency=row.revision.spec["engine"]["max_concurrency"],
        autoscaling_enabled=row.autoscaling_enabled,
        min_replicas=row.min_replicas,
        max_replicas=row.max_replicas,
        scale_down_delay_seconds=row.scale_down_delay_seconds,
        sleep_after_seconds=row.scale_down_delay_seconds if sleep_after is None else sleep_after,
        tried_since=row.tried_since,
        was_ready=row.revision.ready_at is not None,
        good_revision_id=good_revision_id,
        asleep_since=row.asleep_since,
        woken_at=row.woken_at,
        rollout_hold=row.rollout_hold,
        memory=row.autoscaler,
        terminate_requested_at=row.terminate_requested_at,
        deleted_at=row.deleted_at,
        failed_at=row.failed_at,
        pending_since=row.pending_since,
        pending_reason=row.pending_reason,
        observed_at=row.observed_at,
        status=DeploymentStatus(row.status),
    )


def weight_bytes(row: Replica) -> int:
    """What the replica has to move before it is ready; the simulator only says that it does."""
    spec = row.revision.spec
    return 0 if spec["engine"]["name"] == "simulator" else spec["model"]["weight_bytes"]


def replica_view(row: Replica) -> ReplicaView:
    return ReplicaView(
        id=str(row.pk),
        name=row.name,
        spec_hash=row.revision.spec_hash,
        state=ReplicaState(row.state),
        state_since=row.state_since,
        created_at=row.created_at,
        gpu_count=row.gpu_count,
        weight_bytes=weight_bytes(row),
        serving=row.serving,
        failed=row.cause is not None,
        unhealthy_since=row.unhealthy_since,
        ready_at=row.ready_at,
        drain_started_at=row.drain_started_at,
        drain_epoch=row.drain_epoch,
        stop_requested_at=row.stop_requested_at,
        last_seen_at=row.last_seen_at,
        released_at=row.released_at,
    )
