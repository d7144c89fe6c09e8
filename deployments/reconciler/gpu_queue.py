"""Allocates the GPUs of a pool (one GPU type in one cluster), first come first served. Pure.

FIFO by waiting time: a smaller request never overtakes an earlier, larger one. The exception is a request that the pool
could not satisfy even if only this deployment used it: it does not block later ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime


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


@dataclass(frozen=True)
class Grant:
    """How many replicas may start now. When that is not all: why, and the position in the queue (1 is next)."""

    replicas: int
    reason: str = ""
    position: int | None = None


def allocate(pool: Pool, waiters: Iterable[Waiter]) -> Mapping[str, Grant]:
    """A grant for each waiter, by deployment id."""
    free, is_blocked, position = pool.free, False, 0
    grants: dict[str, Grant] = {}
    for waiter in sorted(waiters, key=lambda waiter: (waiter.since, waiter.deployment_id)):
        granted = 0 if is_blocked else min(waiter.replicas, free // waiter.gpu_count)
        free -= granted * waiter.gpu_count
        if granted == waiter.replicas:
            grants[waiter.deployment_id] = Grant(granted)
            continue
        position += 1
        reason = f"Waits for {describe_gpus(waiter.gpu_count, pool.title)}: {free} free of {pool.total}"
        if waiter.held + waiter.gpu_count > pool.total:
            reason += ", so all it can ever have is running or starting"
        elif is_blocked or position > 1:
            reason += f", {ordinal(position)} in turn"
        grants[waiter.deployment_id] = Grant(granted, reason, position)
        held = waiter.held + granted * waiter.gpu_count
        is_blocked = is_blocked or held + waiter.gpu_count <= pool.total
    return grants


def describe_gpus(count: int, title: str) -> str:
    """ "4 × H100 SXM 80 GB" """
    return f"{count} × {title}"


def ordinal(number: int) -> str:
    suffix = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
