"""Allocates the GPUs of a pool (one GPU type in one cluster), first come first served. Pure.

FIFO by waiting time: a smaller request never overtakes an earlier, larger one. The exception is a request that the pool
could not satisfy even if only this deployment used it: it does not block later ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from deployments.codes import Reason, ReasonCode


class Place(NamedTuple):
    """A place in the queue: the smaller one comes first. The fields are columns of a deployment; of two that began to
    wait at the same time, the smaller id comes first."""

    pending_since: datetime
    id: str


@dataclass(frozen=True)
class Pool:
    """GPUs of one type in one cluster; `title` is the GPU type's."""

    title: str
    total: int
    free: int


@dataclass(frozen=True)
class Waiter:
    """A deployment that requests `replicas` more with `gpu_count` GPUs each, and holds `held` GPUs of the pool."""

    deployment_id: str
    since: datetime
    gpu_count: int
    replicas: int
    held: int = 0

    @property
    def place(self) -> Place:
        return Place(self.since, self.deployment_id)


@dataclass(frozen=True)
class Grant:
    """How many replicas may start now. When that is not all: why."""

    replicas: int
    reason: Reason | None = None


def count_ahead(queue: Iterable[Place], own: Place | None) -> int:
    """How many of the queue come before `own`; all, if it has no place yet."""
    return sum(own is None or place < own for place in queue)


def allocate(pool: Pool, waiters: Iterable[Waiter]) -> Mapping[str, Grant]:
    """A grant for each waiter, by deployment id."""
    free, is_blocked = pool.free, False
    grants: dict[str, Grant] = {}
    for waiter in sorted(waiters, key=lambda waiter: waiter.place):
        granted = 0 if is_blocked else min(waiter.replicas, free // waiter.gpu_count)
        free -= granted * waiter.gpu_count
        if granted == waiter.replicas:
            grants[waiter.deployment_id] = Grant(granted)
            continue
        is_satisfiable = waiter.held + waiter.gpu_count <= pool.total
        code = ReasonCode.GPU_QUEUE if is_satisfiable else ReasonCode.GPU_POOL_TOO_SMALL
        facts = {"gpu": pool.title, "gpu_count": waiter.gpu_count, "replicas": waiter.replicas - granted}
        reason = Reason(code, **facts, free=free, total=pool.total)
        grants[waiter.deployment_id] = Grant(granted, reason)
        held = waiter.held + granted * waiter.gpu_count
        is_blocked = is_blocked or held + waiter.gpu_count <= pool.total
    return grants
