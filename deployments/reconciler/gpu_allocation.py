"""Grants GPUs to deployments that start replicas: `gpu_queue.allocate` under an advisory lock of each pool."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Count, Q, QuerySet, Sum

from deployments.models import ClusterGpu, Deployment, Replica
from deployments.reconciler.gpu_queue import Grant, Place, Pool, Waiter, allocate, count_ahead
from deployments.reconciler.snapshot import PoolView
from deployments.states import LIVE, STARTING, ReplicaState


class PoolKey(NamedTuple):
    cluster_id: UUID
    gpu_type_id: str


def pool_key(deployment: Deployment) -> PoolKey:
    return PoolKey(deployment.endpoint.cluster_id, deployment.gpu_type_id)


def grant(requested: Mapping[Deployment, int], now: datetime) -> dict[UUID, Grant]:
    """How many of the requested replicas each deployment may start now.

    Call it in the transaction that inserts the replicas: the pools stay locked until it ends.
    """
    if not requested:
        return {}
    keys = sorted({pool_key(deployment) for deployment in requested})
    with connection.cursor() as cursor:
        for key in keys:  # always in the same order, so that two passes do not deadlock
            digest = hashlib.sha256(f"{key.cluster_id}:{key.gpu_type_id}".encode()).digest()
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [int.from_bytes(digest[:8], signed=True)])
    held = _read_held(keys)
    waiters: dict[PoolKey, list[Waiter]] = defaultdict(list)
    counted = Count("replicas", filter=Q(replicas__state__in=[*STARTING, ReplicaState.READY, ReplicaState.UNKNOWN]))
    others = waiting(keys).exclude(pk__in=[deployment.pk for deployment in requested])
    for row in others.select_related("endpoint", "revision").annotate(counted_replicas=counted):
        missing = row.desired_replicas - row.counted_replicas
        if missing > 0:
            waiters[pool_key(row)].append(_waiter(row, missing, held, now))
    for deployment, count in requested.items():
        waiters[pool_key(deployment)].append(_waiter(deployment, count, held, now))
    grants: dict[UUID, Grant] = {}
    for key, pool in _read_pools(keys, held).items():
        grants |= {UUID(pk): granted for pk, granted in allocate(pool, waiters[key]).items()}
    return {deployment.pk: grants[deployment.pk] for deployment in requested}


def read_held_indices(replicas: Iterable[Replica]) -> dict[UUID, frozenset[int]]:
    """For each replica, the GPUs of its type that rows of other live replicas hold in its cluster, whether the cluster
    still shows them or not."""
    rows = list(replicas)
    keys = {PoolKey(row.cluster_id, row.gpu_type_id) for row in rows}
    if not keys:
        return {}
    live = Replica.objects.filter(_in_pools(keys), state__in=LIVE).exclude(gpu_indices=[])
    held = list(live.values_list("pk", "cluster_id", "gpu_type_id", "gpu_indices"))
    return {
        row.pk: frozenset(
            index
            for pk, cluster_id, gpu_type_id, indices in held
            if pk != row.pk and (cluster_id, gpu_type_id) == (row.cluster_id, row.gpu_type_id)
            for index in indices
        )
        for row in rows
    }


def read_pools(deployments: Iterable[Deployment]) -> dict[UUID, PoolView]:
    """The pool of each deployment, read without a lock: enough to plan, not to insert."""
    rows = list(deployments)
    keys = sorted({pool_key(row) for row in rows})
    if not keys:
        return {}
    pools = _read_pools(keys, _read_held(keys))
    queues = _read_queues(keys)
    views = {}
    for row in rows:
        pool, queue = pools[pool_key(row)], queues[pool_key(row)]
        views[row.pk] = PoolView(pool.title, pool.total, pool.free, count_ahead(queue, _place(row)))
    return views


def queue_position(deployment: Deployment) -> int | None:
    """Its position in the queue for GPUs, 1 for the next; None when it does not wait."""
    key, place = pool_key(deployment), _place(deployment)
    if place is None:
        return None
    queue = _read_queues([key])[key]
    return count_ahead(queue, place) + 1 if place in queue else None


def waiting(keys: Iterable[PoolKey]) -> QuerySet[Deployment]:
    """Deployments that wait for GPUs of these pools, in the order of the queue. One whose passes break takes
    no GPUs, so others do not wait for it."""
    rows = Deployment.objects.filter(_in_pools(keys, "endpoint__"), pending_since__isnull=False)
    rows = rows.filter(terminate_requested_at=None, deleted_at=None, failed_at=None).exclude(work__failures__gt=0)
    return rows.order_by(*Place._fields)


def _read_queues(keys: Iterable[PoolKey]) -> Mapping[PoolKey, list[Place]]:
    queues: dict[PoolKey, list[Place]] = defaultdict(list)
    columns = ("endpoint__cluster_id", "gpu_type_id", *Place._fields)
    for cluster_id, gpu_type_id, since, pk in waiting(keys).values_list(*columns):
        queues[PoolKey(cluster_id, gpu_type_id)].append(Place(since, str(pk)))
    return queues


def _place(row: Deployment) -> Place | None:
    return Place(row.pending_since, str(row.pk)) if row.pending_since else None


def _waiter(row: Deployment, replicas: int, held: Mapping[tuple[PoolKey, UUID], int], now: datetime) -> Waiter:
    gpu_count = row.revision.spec.get("gpu_count", 1) if row.revision else 1  # 1: its pass breaks, and it gets none
    since = row.pending_since or now
    return Waiter(str(row.pk), since, gpu_count, replicas, held.get((pool_key(row), row.pk), 0))


def _read_held(keys: Iterable[PoolKey]) -> dict[tuple[PoolKey, UUID], int]:
    """GPUs that live replicas hold, by pool and deployment."""
    live = Replica.objects.filter(_in_pools(keys), state__in=LIVE).order_by()
    rows = live.values_list("cluster_id", "gpu_type_id", "deployment_id").annotate(gpus=Sum("gpu_count"))
    return {(PoolKey(cluster, gpu_type), deployment): gpus for cluster, gpu_type, deployment, gpus in rows}


def _read_pools(keys: Iterable[PoolKey], held: Mapping[tuple[PoolKey, UUID], int]) -> dict[PoolKey, Pool]:
    used: dict[PoolKey, int] = defaultdict(int)
    for (key, _), gpus in held.items():
        used[key] += gpus
    rows = ClusterGpu.objects.filter(_in_pools(keys)).select_related("gpu_type")
    inventory = {PoolKey(row.cluster_id, row.gpu_type_id): (row.gpu_type.title, row.count) for row in rows}
    totals = {key: inventory.get(key, (key.gpu_type_id, 0)) for key in keys}
    return {key: Pool(title, total, max(0, total - used[key])) for key, (title, total) in totals.items()}


def _in_pools(keys: Iterable[PoolKey], prefix: str = "") -> Q:
    condition = Q(pk__in=[])
    for key in keys:
        condition |= Q(**{f"{prefix}cluster_id": key.cluster_id, "gpu_type_id": key.gpu_type_id})
    return condition
