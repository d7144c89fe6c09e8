"""What a deployment would ask of its cluster, with the arithmetic: shown beside the form while it is filled in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from console.components.formats import format_count, format_elapsed
from console.components.gpu_inventory import GpuInventory, GpuPool
from console.forms.deployment import Values
from console.forms.numbers import whole
from console.forms.scaling import bounds
from deployments.models import CatalogModel, Deployment, Endpoint, Revision
from deployments.queries import PhaseTimes, typical_phases

SHORTEST_SCALE, LONGEST_SCALE = 8, 64


@dataclass(frozen=True)
class Load:
    """So many replicas on GPUs of the chosen type; `waiting` of them would not start at once."""

    replicas: int
    gpus: int
    waiting: int

    @property
    def words(self) -> str:
        return f"{format_count(self.waiting, 'replica')} would wait"


@dataclass(frozen=True)
class Asked:
    """Read leniently from what is typed so far; figures that cannot be known yet are None. `held`: the GPUs that the
    edited deployment has already; None for a new one."""

    values: Values
    model: CatalogModel | None
    endpoint: Endpoint | None
    inventory: GpuInventory
    held: int | None = None

    @property
    def pools(self) -> list[GpuPool]:
        """The GPUs of the endpoint's cluster, smallest memory first."""
        if self.endpoint is None:
            return []
        pools = [one for one in self.inventory.pools if one.cluster_id == self.endpoint.cluster_id]
        return sorted(pools, key=lambda one: (one.gpu_type.memory_gb, one.gpu_type.pk))

    @property
    def pool(self) -> GpuPool | None:
        return next((one for one in self.pools if one.gpu_type.pk == self.values["gpu"]), None)

    @property
    def gpu_count(self) -> int:
        return whole(self.values["gpu_count"]) or 1

    @cached_property
    def range(self) -> tuple[int, int]:
        return bounds(self.values)

    @property
    def sleeps(self) -> bool:
        return self.range[0] == 0

    @property
    def is_fixed(self) -> bool:
        return self.values["fixed"] == "on"

    @property
    def least(self) -> Load:
        """What is there from the start: one replica shows that it works, even where it may sleep afterwards."""
        return self._load(self.range[0] if self.held is not None else max(1, self.range[0]))

    @property
    def most(self) -> Load:
        return self._load(self.range[1])

    def _load(self, replicas: int) -> Load:
        free = (self.pool.free + (self.held or 0)) // self.gpu_count if self.pool else 0
        return Load(replicas, replicas * self.gpu_count, max(0, replicas - free))

    @property
    def room(self) -> int:
        """How many replicas the cluster can hold when nothing else runs."""
        return self.pool.total // self.gpu_count if self.pool else 0

    @property
    def scale_end(self) -> int:
        """Where the slider ends: round, and not below what is chosen."""
        ends = (SHORTEST_SCALE, 16, 32, LONGEST_SCALE)
        return next((end for end in ends if end >= self.range[1]), LONGEST_SCALE)

    @property
    def is_too_large(self) -> bool:
        """More than the cluster has: some replicas would wait for ever."""
        return self.pool is not None and self.most.replicas > self.room

    @property
    def memory_gb(self) -> int:
        """What the GPUs of one replica have together, as sold."""
        return self.gpu_count * self.pool.gpu_type.memory_gb if self.pool else 0

    @cached_property
    def _phases(self) -> list[PhaseTimes]:
        if not (self.model and self.endpoint and self.pool):
            return []
        spec = {
            "model": {"id": self.model.pk},
            "engine": {"name": self.values["engine"]},
            "gpu_count": self.gpu_count,
        }
        imagined = Deployment(endpoint=self.endpoint, gpu_type=self.pool.gpu_type, revision=Revision(spec=spec))
        return list(typical_phases(imagined).values())

    @property
    def measured(self) -> str:
        """0:06, p95 0:09, of 12 starts: from the measured phases of earlier starts here; empty without any."""
        if not self._phases:
            return ""
        p50, p95 = (sum(one.p50_seconds for one in self._phases), sum(one.p95_seconds for one in self._phases))
        starts = format_count(max(one.count for one in self._phases), "start")
        return f"{format_elapsed(p50)}, p95 {format_elapsed(p95)}, of {starts}"
