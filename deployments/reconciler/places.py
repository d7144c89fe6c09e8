"""New replica rows are inserted under a lock of their pool, as many as `gpu_queue.allocate` grants."""

from __future__ import annotations

import hashlib
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Count, Q, Sum

from deployments.models import ClusterGpu, Deployment, Replica, ReplicaPhase
from deployments.reconciler import gpu_queue
from deployments.reconciler.snapshot import PoolView
from deployments.states import LIVE, STARTING, ReplicaState


class PoolKey(NamedTuple):
    cluster_id: UUID
    gpu_type_id: str


def pool_of(deployment: Deployment) -> PoolKey:
    return PoolKey(deployment.endpoint.cluster_id, deployment.gpu_type_id)


def grant(wishes: Mapping[Deployment, int], now: datetime) -> dict[UUID, gpu_queue.Grant]:
    """How many of the wished replicas each deployment may start; to be called in the transaction that inserts them.

    Queues up who gets less than it wished (`pending_since`, unsaved); who gets all leaves the queue.
    """
    if not wishes:
        return {}
    keys = sorted({pool_of(one) for one in wishes})
    _lock(keys)
    held = _held(keys)
    waiters: dict[PoolKey, list[gpu_queue.Waiter]] = defaultdict(list)
    for deployment, count in wishes.items():
        gpu_count = deployment.revision.spec["gpu_count"] if deployment.revision else 1
        mine = held.get((pool_of(deployment), deployment.pk), 0)
        since = deployment.pending_since or now
        waiters[pool_of(deployment)].append(gpu_queue.Waiter(str(deployment.pk), since, gpu_count, count, mine))
    for key, waiter in _others(keys, wishes, held):
        waiters[key].append(waiter)
    granted = {
        UUID(pk): one
        for key, pool in _pools(keys, held).items()
        for pk, one in gpu_queue.allocate(pool, waiters[key]).items()
    }
    return {one.pk: granted[one.pk] for one in wishes}


def look(deployments: Iterable[Deployment]) -> dict[UUID, PoolView]:
    """The pool of each deployment as it is now, without a lock: enough to propose, not to insert."""
    rows = list(deployments)
    keys = sorted({pool_of(one) for one in rows})
    if not keys:
        return {}
    pools_now = _pools(keys, _held(keys))
    waiting = Deployment.objects.filter(_in_pools(keys, "endpoint__"), pending_since__isnull=False)
    waiting = waiting.filter(terminate_requested_at=None, deleted_at=None, failed_at=None).select_related("endpoint")
    queue = [(pool_of(one), one.pending_since, one.pk) for one in waiting]
    return {one.pk: _view(pools_now[pool_of(one)], _ahead(one, queue)) for one in rows}


def _ahead(deployment: Deployment, queue: Iterable[tuple[PoolKey, datetime | None, UUID]]) -> int:
    mine, key = deployment.pending_since, pool_of(deployment)
    others = [since for pool, since, pk in queue if pool == key and pk != deployment.pk and since]
    return sum(mine is None or since <= mine for since in others)


def _view(pool: gpu_queue.Pool, ahead: int) -> PoolView:
    return PoolView(pool.title, pool.total, pool.free, ahead)


def insert(deployment: Deployment, count: int, now: datetime) -> list[Replica]:
    """`count` new replicas that ask for their GPUs; their names follow from their ids."""
    if deployment.revision is None:
        return []
    rows = [_row(deployment, uuid.uuid4(), now) for _ in range(count)]
    Replica.objects.bulk_create(rows)
    ReplicaPhase.objects.bulk_create(
        ReplicaPhase(organization_id=row.organization_id, replica=row, name=row.state, started_at=now) for row in rows
    )
    return rows


def _row(deployment: Deployment, replica_id: UUID, now: datetime) -> Replica:
    assert deployment.revision is not None
    return Replica(
        id=replica_id,
        organization_id=deployment.organization_id,
        deployment=deployment,
        revision=deployment.revision,
        cluster_id=deployment.endpoint.cluster_id,
        gpu_type_id=deployment.gpu_type_id,
        gpu_count=deployment.revision.spec["gpu_count"],
        name=f"r-{replica_id.hex}",
        state=ReplicaState.REQUESTING_GPU,
        state_since=now,
        created_at=now,
        start_requested_at=now,
    )


def _lock(keys: Iterable[PoolKey]) -> None:
    """Advisory locks until the end of the transaction, always in the same order."""
    names = (f"{key.cluster_id}:{key.gpu_type_id}" for key in keys)
    numbers = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True) for name in names]
    with connection.cursor() as cursor:
        for number in numbers:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [number])


def _held(keys: Iterable[PoolKey]) -> dict[tuple[PoolKey, UUID], int]:
    """GPUs that live replicas hold, by pool and deployment."""
    live = Replica.objects.filter(_in_pools(keys), state__in=LIVE).order_by()
    rows = live.values_list("cluster_id", "gpu_type_id", "deployment_id").annotate(gpus=Sum("gpu_count"))
    return {(PoolKey(cluster, gpu_type), deployment): gpus for cluster, gpu_type, deployment, gpus in rows}


def _others(
    keys: Iterable[PoolKey], mine: Mapping[Deployment, int], held: Mapping[tuple[PoolKey, UUID], int]
) -> list[tuple[PoolKey, gpu_queue.Waiter]]:
    """Who else waits in these pools, and for how many."""
    wanted = Count("replicas", filter=Q(replicas__state__in=[*STARTING, ReplicaState.READY]))
    rows = (
        Deployment.objects.filter(_in_pools(keys, "endpoint__"), pending_since__isnull=False)
        .filter(terminate_requested_at=None, deleted_at=None, failed_at=None)
        .exclude(pk__in=[one.pk for one in mine])
        .select_related("endpoint", "revision")
        .annotate(wanted_replicas=wanted)
    )
    found = []
    for row in rows:
        missing = row.desired_replicas - row.wanted_replicas
        if missing > 0 and row.pending_since and row.revision:
            key, gpu_count = pool_of(row), row.revision.spec["gpu_count"]
            waiter = gpu_queue.Waiter(str(row.pk), row.pending_since, gpu_count, missing, held.get((key, row.pk), 0))
            found.append((key, waiter))
    return found


def _pools(keys: Iterable[PoolKey], held: Mapping[tuple[PoolKey, UUID], int]) -> dict[PoolKey, gpu_queue.Pool]:
    used: dict[PoolKey, int] = defaultdict(int)
    for (key, _), gpus in held.items():
        used[key] += gpus
    rows = ClusterGpu.objects.filter(_in_pools(keys)).select_related("gpu_type")
    found = {PoolKey(row.cluster_id, row.gpu_type_id): (row.gpu_type.title, row.count) for row in rows}
    totals = {key: found.get(key, (key.gpu_type_id, 0)) for key in keys}
    return {key: gpu_queue.Pool(title, total, max(0, total - used[key])) for key, (title, total) in totals.items()}


def _in_pools(keys: Iterable[PoolKey], prefix: str = "") -> Q:
    condition = Q(pk__in=[])
    for key in keys:
        condition |= Q(**{f"{prefix}cluster_id": key.cluster_id, "gpu_type_id": key.gpu_type_id})
    return condition
