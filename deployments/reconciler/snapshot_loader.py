"""Loads what a pass decides on: one listing per cluster, one query per table. Writes nothing.

Clusters are listed before the rows are read. A replica missing from a listing is looked up by name before its absence
counts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError
from django.db.models import F, Q

from deployments import worker_heartbeat
from deployments.cluster_drivers import DriverLookup, limited_driver
from deployments.codes import ClusterProblem, Reason
from deployments.drivers.base import DriverError, ObservedReplica
from deployments.drivers.time_limit import TimeLimitedDriver
from deployments.models import Cluster, Deployment, Replica, Revision, WorkItem
from deployments.reconciler import gpu_allocation
from deployments.reconciler.autoscaler import Rules
from deployments.reconciler.leases import Lease
from deployments.reconciler.snapshot import DeploymentView, Listing, Policy, PoolView, ReplicaView, Snapshot
from deployments.routing.load import read_epoch, read_loads
from deployments.states import LIVE, DeploymentStatus, ReplicaState

log = logging.getLogger(__name__)


@dataclass
class ObservedCluster:
    """A cluster, its driver, and its listing; `observed` by replica name."""

    cluster: Cluster
    driver: TimeLimitedDriver
    listing: Listing
    observed: dict[str, ObservedReplica] = field(default_factory=dict)


@dataclass
class Batch:
    """What a pass works on. Rows by id; the replicas are the live ones and those that failed recently. `broken`: why
    deployments are left out of the pass."""

    lease: Lease
    now: datetime
    policy: Policy
    epoch: str
    deployments: dict[UUID, Deployment]
    replicas: dict[UUID, Replica]
    clusters: dict[UUID, ObservedCluster]
    snapshots: dict[UUID, Snapshot] = field(default_factory=dict)
    broken: dict[UUID, Exception] = field(default_factory=dict)

    @contextmanager
    def attribute_errors(self, deployment_id: UUID) -> Iterator[None]:
        """An error breaks the pass of this deployment alone; the pass reports it at its end.

        Errors of the database end the transaction, and with it the pass of all.
        """
        try:
            yield
        except DatabaseError:
            raise
        except Exception as error:  # noqa: BLE001
            self.broken.setdefault(deployment_id, error)


def configured_policy() -> Policy:
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


def load(lease: Lease, drivers: DriverLookup, now: datetime) -> Batch:
    """The leased deployments with a snapshot of each."""
    policy = configured_policy()
    rows = Deployment.objects.filter(pk__in=lease.deployment_ids, work__lease_token=lease.token)
    rows = rows.select_related("organization", "endpoint__cluster", "revision", "gpu_type", "work")
    deployments = {row.pk: row for row in rows}
    reached = {row.endpoint.cluster: limited_driver(row.endpoint.cluster, drivers) for row in deployments.values()}
    for driver in reached.values():
        driver.begin_listing()  # all at once: clusters that hang cost one time limit together
    clusters = {cluster.pk: list_cluster(cluster, driver, now) for cluster, driver in reached.items()}
    # A listing may be slow, and no stamp may lie after `now`.
    now = max([now, *(cluster.listing.listed_at for cluster in clusters.values())])
    replicas = read_replicas(deployments, policy, now)
    for cluster in clusters.values():
        _find_unlisted(cluster, (row for row in replicas.values() if row.cluster_id == cluster.cluster.pk))
    return _build_batch(lease, now, policy, deployments, replicas, clusters)


def list_cluster(cluster: Cluster, driver: TimeLimitedDriver, now: datetime) -> ObservedCluster:
    """A cluster that cannot be reached, does not answer in time or whose driver breaks has an incomplete listing."""
    try:
        seen = driver.observe()
    except DriverError as error:
        log.warning("Cluster %s cannot be observed: %s", cluster.name, error)
        problem = error.problem
    except Exception:
        log.exception("The driver of cluster %s is broken: its cluster counts as unreachable", cluster.name)
        problem = ClusterProblem.DRIVER_BROKEN
    else:
        listing = Listing(seen.listed_at, seen.complete, staleness_seconds=driver.staleness_seconds)
        return ObservedCluster(cluster, driver, listing, {replica.name: replica for replica in seen.replicas})
    return ObservedCluster(cluster, driver, Listing(now, complete=False, reachable=False, problem=problem))


def read_replicas(deployments: Iterable[UUID], policy: Policy, now: datetime) -> dict[UUID, Replica]:
    """Live replicas, and failed ones as far back as a chain of failures can reach."""
    longest_failure = policy.failure_window_seconds + sum(policy.phase_deadline_seconds.values())
    since = now - timedelta(seconds=longest_failure * policy.failures_before_failed)
    is_relevant = Q(state__in=LIVE) | Q(state=ReplicaState.FAILED, released_at__gte=since)
    rows = Replica.objects.filter(is_relevant, deployment_id__in=list(deployments))
    return {row.pk: row for row in rows.select_related("revision")}


def _find_unlisted(cluster: ObservedCluster, replicas: Iterable[Replica]) -> None:
    """Look up live replicas that the listing lacks; a failed look-up makes the listing incomplete."""
    if not cluster.listing.reachable or not cluster.listing.complete:
        return
    for row in replicas:
        if row.name in cluster.observed or row.state not in LIVE:
            continue
        try:
            seen = cluster.driver.find(row.name)
        except DriverError as error:
            log.warning("Replica %s cannot be looked up: %s", row.name, error)
            cluster.listing = replace(cluster.listing, complete=False)
            return
        if seen is not None:
            cluster.observed[row.name] = seen


def _build_batch(
    lease: Lease,
    now: datetime,
    policy: Policy,
    deployments: dict[UUID, Deployment],
    replicas: dict[UUID, Replica],
    clusters: dict[UUID, ObservedCluster],
) -> Batch:
    desired = {pk: row.revision.spec_hash for pk, row in deployments.items() if row.revision}
    rolling = {
        row.deployment_id
        for row in replicas.values()
        if row.state in LIVE and row.revision.spec_hash != desired.get(row.deployment_id)
    }
    unproven = {pk for pk, row in deployments.items() if row.revision and row.revision.ready_at is None}
    good_revisions = _read_good_revisions(rolling | unproven)
    pools = gpu_allocation.read_pools(deployments[pk] for pk in rolling)
    up_since = worker_heartbeat.read_up_since()
    loads = read_loads(pk for pk, row in deployments.items() if row.deleted_at is None and row.terminated_at is None)
    batch = Batch(lease, now, policy, read_epoch(), deployments, replicas, clusters)
    rows: dict[UUID, list[Replica]] = {pk: [] for pk in deployments}
    for row in replicas.values():
        rows[row.deployment_id].append(row)
    for pk, deployment in deployments.items():
        cluster = clusters[deployment.endpoint.cluster_id]
        with batch.attribute_errors(pk):
            view = deployment_view(deployment, deployment.work, good_revisions.get(pk))
            batch.snapshots[pk] = Snapshot(
                deployment=view,
                replicas=tuple(replica_view(row, view) for row in rows[pk]),
                observed=cluster.observed,
                listing=cluster.listing,
                policy=policy,
                now=now,
                load=loads.get(pk),
                pool=pools.get(pk, PoolView()),
                up_since=up_since,
            )
    return batch


def _read_good_revisions(ids: Iterable[UUID]) -> dict[UUID, str]:
    """For each deployment, the latest earlier revision that became ready and has another configuration."""
    good = Revision.objects.filter(deployment__in=list(ids), ready_at__isnull=False, cause__isnull=True)
    earlier = good.filter(number__lt=F("deployment__revision__number"))
    other = earlier.exclude(spec_hash=F("deployment__revision__spec_hash"))
    latest = other.order_by("deployment_id", "-number").distinct("deployment_id")
    return {deployment_id: str(pk) for deployment_id, pk in latest.values_list("deployment_id", "pk")}


def deployment_view(
    row: Deployment, work: WorkItem | None = None, good_revision_id: str | None = None
) -> DeploymentView:
    """Without `work`: what follows from the deployment's row alone. A deployment that ends needs no configuration, so
    that it can be terminated even if that cannot be read."""
    assert row.revision, "every deployment has its first revision from the start"
    sleep_after = row.sleep_after_seconds
    is_ending = row.terminate_requested_at is not None or row.deleted_at is not None
    spec = row.revision.spec if work and not is_ending else None
    return DeploymentView(
        id=str(row.pk),
        spec_hash=row.revision.spec_hash,
        gpu_count=spec["gpu_count"] if spec is not None else 1,
        desired_replicas=row.desired_replicas,
        max_concurrency=spec["engine"]["max_concurrency"] if spec is not None else 1,
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
        rollout_hold=Reason.from_json(row.rollout_hold),
        memory=work.autoscaler if work else {},
        load_known_at=work.load_known_at if work else None,
        terminate_requested_at=row.terminate_requested_at,
        deleted_at=row.deleted_at,
        failed_at=row.failed_at,
        pending_since=row.pending_since,
        pending_reason=Reason.from_json(row.pending_reason),
        observed_at=work.observed_at if work else None,
        status=DeploymentStatus(row.status),
    )


def weight_bytes(row: Replica) -> int:
    """The weights that the replica loads before it is ready; 0 for the simulator, which loads none."""
    spec = row.revision.spec
    return 0 if spec["engine"]["name"] == "simulator" else spec["model"]["weight_bytes"]


def last_seen_at(row: Replica, observed_at: datetime | None) -> datetime | None:
    """When the cluster last showed it; `observed_at` is the deployment's. A replica that every pass sees is not written
    by any."""
    return max(row.created_at, observed_at or row.created_at) if row.listed else row.last_seen_at


def replica_view(row: Replica, deployment: DeploymentView | None = None) -> ReplicaView:
    """Without its deployment: what follows from the replica's row alone."""
    return ReplicaView(
        id=str(row.pk),
        name=row.name,
        spec_hash=row.revision.spec_hash,
        state=ReplicaState(row.state),
        state_since=row.state_since,
        created_at=row.created_at,
        gpu_count=row.gpu_count,
        weight_bytes=weight_bytes(row) if deployment and not deployment.is_ending else 0,
        serving=row.serving,
        failed=row.cause is not None,
        unhealthy_since=row.unhealthy_since,
        ready_at=row.ready_at,
        drain_started_at=row.drain_started_at,
        drain_epoch=row.drain_epoch,
        stop_requested_at=row.stop_requested_at,
        last_seen_at=last_seen_at(row, deployment.observed_at if deployment else None),
        gone_declared_at=row.gone_declared_at,
        released_at=row.released_at,
    )
