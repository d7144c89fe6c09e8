"""GPUs of all clusters, as pages show them: how many there are and how many are held. Two queries, at first use."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import cached_property

from django.db.models import Sum

from console.access import Actor, visible
from console.pages.rows import short_title
from deployments.models import ClusterGpu, GpuType, Replica
from deployments.states import HOLDS_GPU

MOST_STROKES = 48


@dataclass(frozen=True)
class Pool:
    """GPUs of one type in one cluster; `own` is what the actor's organizations hold of the used ones."""

    cluster_id: uuid.UUID
    gpu_type: GpuType
    simulated: bool
    total: int
    used: int
    own: int

    @property
    def free(self) -> int:
        return max(0, self.total - self.used)

    @property
    def title(self) -> str:
        """The product without its memory, which stands beside it."""
        return short_title(self.gpu_type.title, self.gpu_type.memory_gb)


class Inventory:
    """What the actor may know of the GPUs: everything that is counted, nothing about who holds it."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    @cached_property
    def pools(self) -> list[Pool]:
        used, own = self._held
        rows = ClusterGpu.objects.filter(count__gt=0).select_related("gpu_type", "cluster")
        return [
            Pool(row.cluster_id, row.gpu_type, row.cluster.simulated, row.count, used.get(key, 0), own.get(key, 0))
            for row in rows.order_by("cluster__name", "gpu_type")
            for key in [(row.cluster_id, row.gpu_type_id)]
        ]

    @cached_property
    def _held(self) -> tuple[dict[tuple[uuid.UUID, str], int], dict[tuple[uuid.UUID, str], int]]:
        held = Replica.objects.filter(state__in=HOLDS_GPU).order_by().values_list("cluster_id", "gpu_type_id")
        rows = held.annotate(
            gpus=Sum("gpu_count"), own=Sum("gpu_count", filter=visible(self._actor), default=0)
        ).values_list("cluster_id", "gpu_type_id", "gpus", "own")
        listed = list(rows)
        return {(c, t): gpus for c, t, gpus, _ in listed}, {(c, t): own for c, t, _, own in listed}

    @property
    def total(self) -> int:
        return sum(pool.total for pool in self.pools)

    @property
    def used(self) -> int:
        return sum(pool.used for pool in self.pools)

    @property
    def own(self) -> int:
        return sum(pool.own for pool in self.pools)

    @property
    def free(self) -> int:
        return sum(pool.free for pool in self.pools)

    @property
    def types(self) -> list[GpuType]:
        """Every type that some cluster has, smallest memory first."""
        found = {pool.gpu_type.pk: pool.gpu_type for pool in self.pools}
        return sorted(found.values(), key=lambda one: (one.memory_gb, one.pk))

    @property
    def simulated(self) -> bool:
        return any(pool.simulated for pool in self.pools)

    @property
    def full(self) -> list[Pool]:
        return [pool for pool in self.pools if not pool.free]

    @property
    def note(self) -> str:
        """One line on where it is tight: `H200 full`, else the busiest type, else nothing."""
        if self.full:
            return f"{', '.join(pool.title for pool in self.full[:2])} full"
        busy = max((pool for pool in self.pools if pool.used), key=lambda pool: pool.used / pool.total, default=None)
        return f"{busy.title} {busy.used} of {busy.total}" if busy else "all free"

    @property
    def strokes(self) -> Strokes:
        return strokes(self.used, self.total)


@dataclass(frozen=True)
class Strokes:
    """The meter as SVG paths in a box of `width` × 14: lit strokes for what is used, the rest for what is free."""

    width: int
    lit: str
    rest: str


def strokes(used: int, total: int) -> Strokes:
    """One stroke for each GPU; above MOST_STROKES each stands for several, and one in use always shows."""
    count = min(total, MOST_STROKES)
    lit = 0 if not used else max(1, round(count * used / total))
    return Strokes(
        max(1, 2 * count),
        "".join(f"M{2 * place + 1} 0V14" for place in range(lit)),
        "".join(f"M{2 * place + 1} 3V14" for place in range(lit, count)),
    )
