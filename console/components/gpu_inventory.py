"""GPUs of all clusters: how many there are and how many are held. Two queries, at first use."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import cached_property

from django.db.models import Sum

from console.access import Actor, visible
from console.components.formats import shorten_gpu_title
from deployments.models import ClusterGpu, GpuType, Replica
from deployments.states import HOLDS_GPU

MAX_STROKES = 48


@dataclass(frozen=True)
class GpuPool:
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
        return shorten_gpu_title(self.gpu_type.title, self.gpu_type.memory_gb)


@dataclass(frozen=True)
class Meter:
    """The GPUs in use as SVG paths in a box of `width` × 14: `lit` strokes for what is used, `rest` for what is
    free."""

    width: int
    lit: str
    rest: str


class GpuInventory:
    """What the actor may know of the GPUs: every count, nothing about who holds them."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    @cached_property
    def pools(self) -> list[GpuPool]:
        held = Replica.objects.filter(state__in=HOLDS_GPU).order_by().values_list("cluster_id", "gpu_type_id")
        sums = held.annotate(
            gpus=Sum("gpu_count"), own=Sum("gpu_count", filter=visible(self._actor), default=0)
        ).values_list("cluster_id", "gpu_type_id", "gpus", "own")
        used = {(cluster_id, gpu_type_id): (gpus, own) for cluster_id, gpu_type_id, gpus, own in sums}
        rows = ClusterGpu.objects.filter(count__gt=0).select_related("gpu_type", "cluster")
        return [
            GpuPool(
                row.cluster_id,
                row.gpu_type,
                row.cluster.simulated,
                row.count,
                *used.get((row.cluster_id, row.gpu_type_id), (0, 0)),
            )
            for row in rows.order_by("cluster__name", "gpu_type")
        ]

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
        types = {pool.gpu_type.pk: pool.gpu_type for pool in self.pools}
        return sorted(types.values(), key=lambda gpu_type: (gpu_type.memory_gb, gpu_type.pk))

    @property
    def simulated(self) -> bool:
        return any(pool.simulated for pool in self.pools)

    @property
    def note(self) -> str:
        """Which types are full: `H200 full`; else the busiest type, else that all are free."""
        if full := [pool for pool in self.pools if not pool.free]:
            return f"{', '.join(pool.title for pool in full[:2])} full"
        busiest = max((pool for pool in self.pools if pool.used), key=lambda pool: pool.used / pool.total, default=None)
        return f"{busiest.title} {busiest.used} of {busiest.total}" if busiest else "all free"

    @property
    def meter(self) -> Meter:
        """One stroke for each GPU; above MAX_STROKES each stands for several, and one in use always shows."""
        count = min(self.total, MAX_STROKES)
        lit = 0 if not self.used else max(1, round(count * self.used / self.total))
        return Meter(
            max(1, 2 * count),
            "".join(f"M{2 * place + 1} 0V14" for place in range(lit)),
            "".join(f"M{2 * place + 1} 3V14" for place in range(lit, count)),
        )
