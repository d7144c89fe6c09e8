"""Reads of deployments, for pages, API and the layers above."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Q, QuerySet, Sum

from deployments import events
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
from deployments.specs import Autoscaling, DeploymentSpec, EndpointOption, ModelRef, Options, RevisionSpec
from deployments.states import LIVE, STARTING, STARTING_ORDER, DeploymentStatus, ReplicaState

STARTS_MEASURED = 100


@dataclass(frozen=True)
class GpuFree:
    """GPUs of one type in a cluster: all, held by live replicas, and the rest."""

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
    """What a new deployment may choose from now."""
    inventory: dict[UUID, dict[str, int]] = defaultdict(dict)
    for gpu in ClusterGpu.objects.filter(count__gt=0):
        inventory[gpu.cluster_id][gpu.gpu_type_id] = gpu.count
    return Options(
        models={model.pk: model_ref(model) for model in CatalogModel.objects.all()},
        endpoints={
            one.name: EndpointOption(one.name, one.cluster.simulated, inventory[one.cluster_id])
            for one in Endpoint.objects.select_related("cluster")
        },
        gpu_memory_gib={one.pk: float(one.memory_gib) for one in GpuType.objects.all()},
        engines={name: engine.availability for name, engine in ENGINES.items()},
        delay_floor_seconds=settings.SCALE_DOWN_DELAY_FLOOR_SECONDS,
    )


def model_ref(model: CatalogModel) -> ModelRef:
    return ModelRef("catalog", model.pk, model.repository, model.weight_bytes, model.context_length)


def spec_of(deployment: Deployment) -> DeploymentSpec:
    """The configuration in force, as it would be asked for again."""
    assert deployment.revision, "every deployment has its first revision from the start"
    return DeploymentSpec(
        name=deployment.name,
        endpoint=deployment.endpoint.name,
        gpu_type=deployment.gpu_type_id,
        revision=RevisionSpec.from_json(deployment.revision.spec),
        autoscaling=autoscaling_of(deployment),
        description=deployment.description,
        labels=deployment.labels,
    )


def autoscaling_of(deployment: Deployment) -> Autoscaling:
    if not deployment.autoscaling_enabled:
        return Autoscaling.fixed(deployment.max_replicas)
    return Autoscaling(
        True,
        deployment.min_replicas,
        deployment.max_replicas,
        deployment.scale_down_delay_seconds,
        deployment.sleep_after_seconds,
    )


def revisions(deployment: Deployment) -> QuerySet[Revision]:
    """Newest first."""
    return deployment.revisions.select_related("created_by").order_by("-number")


def last_change(deployment: Deployment) -> tuple[str, datetime]:
    """Who changed what is wanted last, and when."""
    kinds = [kind.value for kind in events.CHANGES]
    event = deployment.events.filter(kind__in=kinds).order_by("-id").first()
    return (event.actor, event.at) if event else (events.CONSOLE, deployment.updated_at)


def waits_after_failure(deployment: Deployment, now: datetime) -> bool:
    """Whether something of it failed lately and not all that is wanted runs again."""
    assert deployment.revision, "every deployment has its first revision from the start"
    replicas = deployment.replicas.filter(revision__spec_hash=deployment.revision.spec_hash)
    lately = now - timedelta(seconds=settings.FAILURE_WINDOW_SECONDS)
    failed = replicas.filter(state=ReplicaState.FAILED, released_at__gt=lately)
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


def waiting(cluster_id: UUID, gpu_type_id: str) -> QuerySet[Deployment]:
    """Who waits for GPUs of this pool, first come first."""
    rows = Deployment.objects.filter(
        endpoint__cluster_id=cluster_id,
        gpu_type_id=gpu_type_id,
        pending_since__isnull=False,
        terminate_requested_at=None,
        deleted_at=None,
        failed_at=None,
    )
    return rows.order_by("pending_since", "id")


def place_in_queue(deployment: Deployment) -> int | None:
    """1 for who is next; None for who does not wait."""
    since = deployment.pending_since
    if since is None or deployment.terminate_requested_at or deployment.failed_at or deployment.deleted_at:
        return None
    earlier = Q(pending_since__lt=since) | Q(pending_since=since, id__lt=deployment.pk)
    return waiting(deployment.endpoint.cluster_id, deployment.gpu_type_id).filter(earlier).count() + 1


def typical_phases(deployment: Deployment, besides: Collection[UUID] = ()) -> dict[str, PhaseTimes]:
    """How long the starting phases took in the latest starts of the same model and engine on as many GPUs of this
    type in this cluster that became ready, leaving out the replicas `besides`. Empty when there was none."""
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
    """How many of them have each status; every status is there."""
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
