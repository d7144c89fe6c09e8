"""The panel beside the form of a deployment: the GPUs that the form as typed so far needs, and what is free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from console.access import Actor
from console.components.formats import format_count, format_gb
from console.components.gpu_inventory import GpuInventory, GpuPool
from console.components.measured_starts import describe_starts
from console.components.typed_numbers import read_whole
from console.deployments.replica_range_fields import read_bounds
from deployments.config.resolve import GIB, MEMORY_PER_WEIGHTS, RUNTIME_GIB
from deployments.models import CatalogModel, Deployment, Endpoint, Revision
from deployments.queries import Durations, measure_starts
from deployments.states import HOLDS_GPU

SCALE_ENDS = (8, 16, 32, 64)


@dataclass(frozen=True)
class CapacityNeed:
    """So many replicas on GPUs of the chosen type; `waiting` of them would not start at once."""

    replicas: int
    gpus: int
    waiting: int

    @property
    def warning(self) -> str:
        return f"{format_count(self.waiting, 'replica')} would wait now"


@dataclass(frozen=True)
class MemoryWarning:
    """The weights do not fit into the GPU memory of a replica, or leave too little of it for requests."""

    is_too_small: bool
    message: str


@dataclass(frozen=True)
class CapacityPanel:
    """`pools` are the GPUs of the endpoint's cluster, smallest memory first; `pool` is the chosen one. `held`: GPUs
    that the edited deployment holds already; None for a new one. `startup`: how long earlier starts took.
    `loads_weights`: the chosen engine puts the weights into GPU memory."""

    model: CatalogModel | None
    endpoint: Endpoint | None
    pools: list[GpuPool]
    pool: GpuPool | None
    gpu_count: int
    range: tuple[int, int]
    is_fixed: bool
    held: int | None
    startup: Durations | None
    loads_weights: bool

    @property
    def may_sleep(self) -> bool:
        return self.range[0] == 0

    @property
    def least(self) -> CapacityNeed:
        """At the start: a new deployment starts one replica, even if it may sleep afterwards."""
        return self._need(self.range[0] if self.held is not None else max(1, self.range[0]))

    @property
    def most(self) -> CapacityNeed:
        return self._need(self.range[1])

    def _need(self, replicas: int) -> CapacityNeed:
        return CapacityNeed(replicas, replicas * self.gpu_count, max(0, replicas - self.starts_at_once))

    @property
    def max_replicas(self) -> int:
        """The replicas that fit into the cluster when nothing else runs."""
        return self.pool.total // self.gpu_count if self.pool else 0

    @property
    def starts_at_once(self) -> int:
        """The replicas for which GPUs are free now, or held already by the edited deployment."""
        return (self.pool.free + (self.held or 0)) // self.gpu_count if self.pool else 0

    @property
    def memory_warning(self) -> MemoryWarning | None:
        """The weights against the GPU memory of one replica; None while they fit with room to spare."""
        if not self.model or not self.pool:
            return None
        memory = self.gpu_count * float(self.pool.gpu_type.memory_gib) * GIB
        weights = self.model.weight_bytes
        if weights * MEMORY_PER_WEIGHTS + RUNTIME_GIB * GIB <= memory:
            return None
        is_too_small = weights > memory
        figures = (
            f"{format_gb(weights)} GB of weights, {format_count(self.gpu_count, 'GPU')} with {self.memory_gb:,} GB"
        )
        verdict = "Does not fit" if is_too_small else "Tight: little is left for requests"
        advice = "Choose larger GPUs, or more per replica."
        if not self.loads_weights:
            advice = "The simulator loads no weights and starts all the same; a real engine needs larger or more GPUs."
        return MemoryWarning(is_too_small, f"{verdict}: {figures}. {advice}")

    @property
    def is_too_large(self) -> bool:
        """Whether some replicas would never start."""
        return self.pool is not None and self.most.replicas > self.max_replicas

    @property
    def scale_end(self) -> int:
        """The end of the slider: a round number, not below what is chosen."""
        return next((end for end in SCALE_ENDS if end >= self.range[1]), SCALE_ENDS[-1])

    @property
    def memory_gb(self) -> int:
        """Of the GPUs of one replica together."""
        return self.gpu_count * self.pool.gpu_type.memory_gb if self.pool else 0

    @property
    def typical_start(self) -> str:
        """0:06, p95 0:09, based on 30 earlier starts; empty without any."""
        return describe_starts(self.startup) if self.startup else ""


def read_capacity(actor: Actor, values: Mapping[str, str], edited: Deployment | None = None) -> CapacityPanel:
    """`values` are the fields of the form; what cannot be read yet counts as not given."""
    model = CatalogModel.objects.filter(pk=values["model"]).first()
    endpoint = Endpoint.objects.filter(name=values["endpoint"]).select_related("cluster").first()
    pools = [pool for pool in GpuInventory(actor).pools if endpoint and pool.cluster_id == endpoint.cluster_id]
    pool = next((pool for pool in pools if pool.gpu_type.pk == values["gpu"]), None)
    gpu_count = read_whole(values["gpu_count"]) or 1
    startup: Durations | None = None
    if model and endpoint and pool:
        spec = {"model": {"id": model.pk}, "engine": {"name": values["engine"]}, "gpu_count": gpu_count}
        candidate = Deployment(endpoint=endpoint, gpu_type=pool.gpu_type, revision=Revision(spec=spec))
        startup = measure_starts(candidate).total
    held = edited.replicas.filter(state__in=HOLDS_GPU).values_list("gpu_count", flat=True) if edited else None
    return CapacityPanel(
        model=model,
        endpoint=endpoint,
        pools=sorted(pools, key=lambda pool: (pool.gpu_type.memory_gb, pool.gpu_type.pk)),
        pool=pool,
        gpu_count=gpu_count,
        range=read_bounds(values),
        is_fixed=values["fixed"] == "on",
        held=None if held is None else sum(held),
        startup=startup,
        loads_weights=values["engine"] != "simulator",
    )


def read_free_gpus(actor: Actor, endpoint_name: str) -> dict[str, int]:
    """Free GPUs by type in the cluster of an endpoint. Three queries."""
    endpoint = Endpoint.objects.filter(name=endpoint_name).first()
    pools = GpuInventory(actor).pools if endpoint else []
    return {pool.gpu_type.pk: pool.free for pool in pools if endpoint and pool.cluster_id == endpoint.cluster_id}
