"""What a new deployment would ask of its cluster, with the arithmetic: shown beside the form while it is filled in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from console.forms.deployment import Values, number
from console.pages.figures import counted, lasted
from console.pages.inventory import Inventory, Pool
from deployments.models import CatalogModel, Deployment, Endpoint, Revision
from deployments.queries import typical_phases


@dataclass(frozen=True)
class Asked:
    """Read leniently from what is typed so far; figures that cannot be known yet are None."""

    values: Values
    model: CatalogModel | None
    endpoint: Endpoint | None
    inventory: Inventory

    @property
    def pools(self) -> list[Pool]:
        """The GPUs of the endpoint's cluster, smallest memory first."""
        if self.endpoint is None:
            return []
        pools = [one for one in self.inventory.pools if one.cluster_id == self.endpoint.cluster_id]
        return sorted(pools, key=lambda one: (one.gpu_type.memory_gb, one.gpu_type.pk))

    @property
    def pool(self) -> Pool | None:
        return next((one for one in self.pools if one.gpu_type.pk == self.values["gpu"]), None)

    @property
    def gpu_count(self) -> int:
        return _whole(self.values["gpu_count"])

    @property
    def replicas(self) -> int:
        return _whole(self.values["replicas"])

    @property
    def gpus(self) -> int:
        return self.gpu_count * self.replicas

    @property
    def fits_now(self) -> int:
        """How many replicas could start at once."""
        return min(self.replicas, self.pool.free // self.gpu_count) if self.pool else 0

    @property
    def is_free(self) -> bool:
        return self.fits_now == self.replicas

    @property
    def is_too_large(self) -> bool:
        """More than the cluster has: some replicas would wait for ever."""
        return bool(self.pool) and self.gpus > self.pool.total  # type: ignore[union-attr]

    @property
    def waiting(self) -> str:
        return f"{counted(self.replicas - self.fits_now, 'replica')} would wait"

    @property
    def memory_gb(self) -> int:
        """What the GPUs of one replica have together, as sold."""
        return self.gpu_count * self.pool.gpu_type.memory_gb if self.pool else 0

    @property
    def memory_gib(self) -> float:
        return self.gpu_count * float(self.pool.gpu_type.memory_gib) if self.pool else 0.0

    @cached_property
    def typical(self) -> str:
        """0:06, p95 0:09, of 12 starts: from the measured phases of earlier starts here."""
        if not (self.model and self.endpoint and self.pool):
            return ""
        spec = {
            "model": {"id": self.model.pk},
            "engine": {"name": self.values["engine"]},
            "gpu_count": self.gpu_count,
        }
        imagined = Deployment(endpoint=self.endpoint, gpu_type=self.pool.gpu_type, revision=Revision(spec=spec))
        phases = typical_phases(imagined).values()
        if not phases:
            return "no earlier starts to compare with"
        p50, p95 = sum(one.p50_seconds for one in phases), sum(one.p95_seconds for one in phases)
        return f"{lasted(p50)}, p95 {lasted(p95)}, of {counted(max(one.count for one in phases), 'start')}"


def _whole(text: str) -> int:
    value = number(text)
    return value if isinstance(value, int) and 1 <= value <= 10_000 else 1
