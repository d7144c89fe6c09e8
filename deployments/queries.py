"""Reads of deployments, for pages, the API and the apps above."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Q, QuerySet, Sum

from deployments import events
from deployments.config.available_options import EndpointOption, ModelRef, Options
from deployments.config.configuration import CatalogSource, Configuration, Fixed, Gpu, Range
from deployments.config.deployment_spec import DeploymentSpec, RevisionSpec
from deployments.engines.registry import ENGINES
from deployments.models import (
    CatalogModel,
    Cluster,
    ClusterGpu,
    Deployment,
    Endpoint,
    GpuType,
    Replica,
    ReplicaPhase,
    Revision,
)
from deployments.reconciler import backoff, gpu_allocation, snapshot_loader
from deployments.reconciler.backoff import Backoff as Backoff
from deployments.states import LIVE, STARTING, STARTING_ORDER, DeploymentStatus, ReplicaState

STARTS_MEASURED = 100


@dataclass(frozen=True)
class GpuFree:
    """GPUs of one type in a cluster: all of them, and those held by live replicas."""

    gpu_type: GpuType
    total: int
    used: int

    @property
    def free(self) -> int:
        return max(0, self.total - self.used)


@dataclass(frozen=True)
class PhaseTimes:
    """How long a phase took in earlier starts. Seconds; `count` is how many were measured."""

    p50_seconds: float
    p95_seconds: float
    count: int


def spec_options() -> Options:
    """The models, endpoints, GPUs and engines that a new deployment can choose."""
    inventory: dict[UUID, dict[str, int]] = defaultdict(dict)
    for gpu in ClusterGpu.objects.filter(count__gt=0):
        inventory[gpu.cluster_id][gpu.gpu_type_id] = gpu.count
    gpu_types = list(GpuType.objects.all())
    return Options(
        models={model.pk: model_ref(model) for model in CatalogModel.objects.all()},
        endpoints={
            endpoint.name: EndpointOption(endpoint.name, endpoint.cluster.simulated, inventory[endpoint.cluster_id])
            for endpoint in Endpoint.objects.select_related("cluster")
        },
        gpu_memory_gib={gpu_type.pk: float(gpu_type.memory_gib) for gpu_type in gpu_types},
        gpu_titles={gpu_type.pk: gpu_type.title for gpu_type in gpu_types},
        engines={name: engine.availability for name, engine in ENGINES.items()},
        delay_floor_seconds=settings.SCALE_DOWN_DELAY_FLOOR_SECONDS,
    )


def model_ref(model: CatalogModel) -> ModelRef:
    return ModelRef(
        source="catalog",
        id=model.pk,
        repository=model.repository,
        weight_bytes=model.weight_bytes,
        context_length=model.context_length,
    )


def spec_of(deployment: Deployment) -> DeploymentSpec:
    """The configuration in force, as a request for it."""
    assert deployment.revision, "every deployment has its first revision from the start"
    revision = RevisionSpec.from_json(deployment.revision.spec)
    configuration = Configuration(
        name=deployment.name,
        description=deployment.description,
        endpoint=deployment.endpoint.name,
        model=CatalogSource(source="catalog", id=revision.model.id),
        adapters=revision.adapters,
        engine=revision.engine,
        gpu=Gpu(type=deployment.gpu_type_id, count=revision.gpu_count),
        autoscaling=autoscaling_of(deployment),
        labels=deployment.labels,
    )
    return DeploymentSpec(configuration, revision.model)


def autoscaling_of(deployment: Deployment) -> Range | Fixed:
    if not deployment.autoscaling_enabled:
        return Fixed(replicas=deployment.max_replicas)
    return Range(
        min_replicas=deployment.min_replicas,
        max_replicas=deployment.max_replicas,
        scale_down_delay_seconds=deployment.scale_down_delay_seconds,
        sleep_after_seconds=deployment.sleep_after_seconds,
    )


def revisions(deployment: Deployment) -> QuerySet[Revision]:
    """Newest first."""
    return deployment.revisions.select_related("created_by").order_by("-number")


def last_change(deployment: Deployment) -> tuple[str, datetime]:
    """The actor and the time of the last change of desired state."""
    kinds = [kind.value for kind in events.CHANGES]
    event = deployment.events.filter(kind__in=kinds).order_by("-id").first()
    return (event.actor, event.at) if event else (events.CONSOLE, deployment.updated_at)


def waits_after_failure(deployment: Deployment, now: datetime) -> bool:
    """Whether a replica failed recently and fewer than desired run again."""
    assert deployment.revision, "every deployment has its first revision from the start"
    replicas = deployment.replicas.filter(revision__spec_hash=deployment.revision.spec_hash)
    recently = now - timedelta(seconds=settings.FAILURE_WINDOW_SECONDS)
    failed = replicas.filter(state=ReplicaState.FAILED, released_at__gt=recently)
    if deployment.tried_since:
        failed = failed.filter(created_at__gte=deployment.tried_since)
    running = replicas.filter(state__in=[*STARTING, ReplicaState.READY])
    return failed.exists() and running.count() < deployment.desired_replicas


def capacity(cluster: Cluster) -> list[GpuFree]:
    """Every GPU type of the cluster, smallest memory first."""
    live = Replica.objects.filter(cluster=cluster, state__in=LIVE)
    used = dict(live.values_list("gpu_type").annotate(gpus=Sum("gpu_count")))
    rows = ClusterGpu.objects.filter(cluster=cluster).select_related("gpu_type")
    return [GpuFree(row.gpu_type, row.count, used.get(row.gpu_type_id, 0)) for row in rows.order_by("gpu_type")]


def queue_position(deployment: Deployment) -> int | None:
    """Its position in the queue for GPUs, 1 for the next; None when it does not wait."""
    since = deployment.pending_since
    if since is None or deployment.terminate_requested_at or deployment.failed_at or deployment.deleted_at:
        return None
    earlier = Q(pending_since__lt=since) | Q(pending_since=since, id__lt=deployment.pk)
    return gpu_allocation.waiting([gpu_allocation.pool_key(deployment)]).filter(earlier).count() + 1


def restart_backoff(deployment: Deployment, replicas: Iterable[Replica], now: datetime) -> Backoff:
    """When a replacement may start after the failures among `replicas`."""
    views = [snapshot_loader.replica_view(replica) for replica in replicas]
    return backoff.compute(snapshot_loader.deployment_view(deployment), views, snapshot_loader.configured_policy(), now)


def typical_phases(deployment: Deployment, besides: Collection[UUID] = ()) -> dict[str, PhaseTimes]:
    """How long the starting phases took in the latest STARTS_MEASURED starts that became ready, with the same model,
    engine, GPU type, GPU count and cluster, without the replicas `besides`. Empty when there was none."""
    if deployment.revision is None:
        return {}
    spec = deployment.revision.spec
    starts = Replica.objects.filter(
        cluster_id=deployment.endpoint.cluster_id,
        gpu_type_id=deployment.gpu_type_id,
        gpu_count=spec["gpu_count"],
        revision__spec__model__id=spec["model"]["id"],
        revision__spec__engine__name=spec["engine"]["name"],
        ready_at__isnull=False,
    )
    measured = starts.exclude(pk__in=besides).order_by("-ready_at")[:STARTS_MEASURED]
    seconds: dict[str, list[float]] = defaultdict(list)
    phases = ReplicaPhase.objects.filter(
        replica__in=list(measured.values_list("pk", flat=True)), name__in=STARTING_ORDER, ended_at__isnull=False
    )
    for name, started_at, ended_at in phases.values_list("name", "started_at", "ended_at"):
        if ended_at is not None:
            seconds[name].append((ended_at - started_at).total_seconds())
    return {name: _times(seconds[name]) for name in STARTING_ORDER if seconds[name]}


def _times(seconds: Sequence[float]) -> PhaseTimes:
    if len(seconds) == 1:
        return PhaseTimes(seconds[0], seconds[0], 1)
    cuts = statistics.quantiles(seconds, n=20, method="inclusive")
    return PhaseTimes(statistics.median(seconds), cuts[18], len(seconds))


def status_counts(deployments: QuerySet[Deployment]) -> dict[str, int]:
    """The number of deployments by status; every status is present."""
    counted = dict(deployments.order_by().values_list("status").annotate(count=Count("id")))
    return {status.value: counted.get(status.value, 0) for status in DeploymentStatus}


def replica_rows(deployment: Deployment) -> QuerySet[Replica]:
    """All replicas, ended ones too, newest first, with their phases and revision."""
    return (
        deployment.replicas.select_related("revision", "gpu_type")
        .prefetch_related("phases")
        .order_by("-created_at", "-id")
    )


def ready_counts(deployment_ids: Sequence[UUID]) -> dict[UUID, int]:
    """READY replicas by deployment; deployments without one are absent."""
    rows = Replica.objects.filter(deployment_id__in=deployment_ids, state=ReplicaState.READY)
    return dict(rows.order_by().values_list("deployment_id").annotate(count=Count("id")))


def live_counts(deployment_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Replicas that are neither stopped nor failed, by deployment."""
    rows = Replica.objects.filter(deployment_id__in=deployment_ids, state__in=LIVE)
    return dict(rows.order_by().values_list("deployment_id").annotate(count=Count("id")))
