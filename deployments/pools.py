"""Who gets which GPUs: first come, first served, per pool (the GPUs of one type in one cluster). Pure.

The one who waits longest goes first, and nobody overtakes him with a smaller wish; only who could never be served
as things are (his own replicas included, the pool is too small) lets others pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Pool:
    """GPUs of one type in one cluster."""

    title: str
    total: int
    free: int


@dataclass(frozen=True)
class Waiter:
    """A deployment that wants `replicas` more of `gpu_count` GPUs each and holds `held` GPUs of the pool."""

    deployment_id: str
    since: datetime
    gpu_count: int
    replicas: int
    held: int = 0


@dataclass(frozen=True)
class Grant:
    """How many replicas may start now, and for the rest the reason that people read and the place in the queue."""

    replicas: int
    reason: str = ""
    place: int | None = None


def allot(pool: Pool, waiters: Iterable[Waiter]) -> Mapping[str, Grant]:
    """A grant for each waiter, by deployment id."""
    free, blocked, place = pool.free, False, 0
    grants: dict[str, Grant] = {}
    for waiter in sorted(waiters, key=lambda one: (one.since, one.deployment_id)):
        fitting = 0 if blocked else min(waiter.replicas, free // waiter.gpu_count)
        free -= fitting * waiter.gpu_count
        if fitting == waiter.replicas:
            grants[waiter.deployment_id] = Grant(fitting)
            continue
        place += 1
        grants[waiter.deployment_id] = Grant(fitting, _reason(pool, waiter, place, free, blocked), place)
        held = waiter.held + fitting * waiter.gpu_count
        blocked = blocked or held + waiter.gpu_count <= pool.total
    return grants


def wish(gpu_count: int, title: str) -> str:
    """ "4 × H100 SXM 80 GB" """
    return f"{gpu_count} × {title}"


def ordinal(number: int) -> str:
    suffix = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def _reason(pool: Pool, waiter: Waiter, place: int, free: int, blocked: bool) -> str:
    what = f"Waits for {wish(waiter.gpu_count, pool.title)}: {free} free of {pool.total}"
    if waiter.held + waiter.gpu_count > pool.total:
        return f"{what}, so all it can ever have is running or starting"
    return f"{what}, {ordinal(place)} in turn" if blocked or place > 1 else what
