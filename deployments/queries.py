"""Reads of deployments, for pages, the API and the apps above."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Count, F, Q, QuerySet, Sum, Window
from django.db.models.functions import RowNumber

from deployments import events, messages
from deployments.codes import Reason, ReasonCode
from deployments.config.available_options import EndpointOption, ModelRef, Options
from deployments.config.configuration import CatalogSource, Configuration, Fixed, Gpu, Limits, Range
from deployments.config.deployment_spec import DeploymentSpec, RevisionSpec
from deployments.engines.registry import ENGINES
from deployments.messages import Text
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
    WorkItem,
)
from deployments.reconciler import backoff, deadlines, replica_count, snapshot_loader
from deployments.reconciler.autoscaler import Memory
from deployments.reconciler.backoff import Backoff as Backoff
from deployments.reconciler.gpu_allocation import queue_position as queue_position
from deployments.routing.load import read_loads
from deployments.states import LIVE, STARTING, STARTING_ORDER, DeploymentStatus, ReplicaState

STARTS_MEASURED = 100
COUNT_FOR_P95 = 20
# A phase is late once it takes this much longer than nearly all earlier ones, at least so many seconds longer; without
# earlier ones, once this share of its deadline is over.
LATE_FACTOR, LATE_SECONDS, LATE_SHARE = 1.5, 15.0, 0.5
# What `start_key` and `start_limits` read of a replica.
LATE_START_COLUMNS = (
    "state", "state_since", "deployment__gpu_type", "deployment__endpoint__cluster", "revision__spec",
)  # fmt: skip
# Cluster, GPU type, GPU count, model and engine: what starts must have in common to be compared.
StartKey = tuple[UUID, str, int, str, str]


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
class Durations:
    """How long something took. Seconds; `count` is how many were measured. `high_seconds` is the p95 where there are
    enough for one, else the longest."""

    p50_seconds: float
    high_seconds: float
    shortest_seconds: float
    count: int

    @property
    def has_p95(self) -> bool:
        return self.count >= COUNT_FOR_P95


@dataclass(frozen=True)
class MeasuredStarts:
    """Earlier starts that became ready: by phase, and from request to ready. Empty and None without any."""

    phases: dict[str, Durations]
    total: Durations | None


@dataclass(frozen=True)
class StartLimits:
    """Of the phase that a start is in: when it ends at the latest, as earlier starts went, and when it is given up."""

    expected_at: datetime
    fails_at: datetime

    def is_late(self, now: datetime) -> bool:
        return now > self.expected_at


@dataclass(frozen=True)
class Attention:
    """How many deployments somebody must look at: in which a start is late, those whose passes break, and those with a
    replica that the cluster has no record of, unless they failed. In `total`, which counts the failed ones too, each
    is counted once."""

    late: int
    broken: int
    unknown: int
    total: int


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
    """The configuration in force, as a request for it. Raises `UnreadableSpec`."""
    assert deployment.revision, "every deployment has its first revision from the start"
    return make_spec(deployment, deployment.endpoint.name, deployment.revision.spec)


def make_spec(row: Deployment | Any, endpoint: str, stored: Mapping[str, Any]) -> DeploymentSpec:
    """As `spec_of`. `row`: a deployment, or a row of values with the names of its columns; `stored`: the spec of its
    revision. Raises `UnreadableSpec`."""
    revision = RevisionSpec.from_json(stored)
    configuration = Configuration(
        model=CatalogSource(source="catalog", id=revision.model.id),
        adapters=revision.adapters,
        engine=revision.engine,
        gpu=Gpu(type=row.gpu_type_id, count=revision.gpu_count),
        **settings_beside_revision(row, endpoint),
    )
    return DeploymentSpec(configuration, revision.model)


def settings_beside_revision(row: Deployment | Any, endpoint: str) -> dict[str, Any]:
    """The fields of a configuration that no revision stores. Parameters as of `make_spec`."""
    return {
        "name": row.name,
        "description": row.description,
        "endpoint": endpoint,
        "autoscaling": autoscaling_of(row),
        "limits": Limits.model_validate(row.limits),
        "labels": row.labels,
    }


def autoscaling_of(deployment: Deployment | Any) -> Range | Fixed:
    """`deployment`: as `row` of `make_spec`."""
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


def capacity(cluster: Cluster) -> list[GpuFree]:
    """Every GPU type of the cluster, smallest memory first."""
    live = Replica.objects.filter(cluster=cluster, state__in=LIVE)
    used = dict(live.values_list("gpu_type").annotate(gpus=Sum("gpu_count")))
    rows = ClusterGpu.objects.filter(cluster=cluster).select_related("gpu_type")
    return [GpuFree(row.gpu_type, row.count, used.get(row.gpu_type_id, 0)) for row in rows.order_by("gpu_type")]


def idle_since(deployment: Deployment) -> datetime | None:
    """Since when nothing has asked for it, as the decision to sleep counts it; None while requests are there, while no
    replica is ready, and while it is unknown. Two queries and one read of Redis."""
    view = snapshot_loader.deployment_view(deployment, WorkItem.objects.filter(pk=deployment.pk).first())
    ready = deployment.replicas.filter(state=ReplicaState.READY).select_related("revision").defer("log_tail")
    replicas = [snapshot_loader.replica_view(replica) for replica in ready]
    if not replicas:
        return None
    load = read_loads([deployment.pk])[deployment.pk]
    return replica_count.find_idle_since(view, replicas, load, Memory.from_json(view.memory, view.load_known_at))


def explain_pending(deployment: Deployment, now: datetime, position: int | None = None) -> Text | None:
    """Why fewer replicas run than desired, with what changes meanwhile: the time left, and the `position` in the queue
    if the caller has it. Reads nothing."""
    reason = Reason.from_json(deployment.pending_reason)
    if reason is None:
        return None
    computed: dict[str, Any] = {"position": position}
    if reason.code == ReasonCode.BACK_OFF:
        left = datetime.fromisoformat(reason.facts["not_before"]) - now
        computed["seconds"] = max(1, round(left.total_seconds()))
    return messages.describe_reason(reason.to_json(), computed)


def broken_pass(deployment: Deployment) -> WorkItem | None:
    """Its work item while the reconciler's passes over it break, else None."""
    return WorkItem.objects.filter(pk=deployment.pk, failures__gt=0).first()


def count_attention(deployments: QuerySet[Deployment], late: Collection[UUID]) -> Attention:
    """`late`: the deployments in which a start is late. One query."""
    has_failed = Q(status=DeploymentStatus.FAILED)
    is_broken = Q(pk__in=WorkItem.objects.filter(failures__gt=0).values("pk"))
    is_unknown = Q(pk__in=Replica.objects.filter(state=ReplicaState.UNKNOWN).order_by().values("deployment"))
    counts = deployments.order_by().aggregate(
        broken=Count("pk", filter=is_broken),
        unknown=Count("pk", filter=is_unknown & ~has_failed),
        total=Count("pk", filter=has_failed | is_broken | is_unknown | Q(pk__in=list(late))),
    )
    return Attention(late=len(late), **counts)


def read_backoff(deployment: Deployment, now: datetime) -> Backoff:
    """When a replacement may start after the failures of its replicas. One query."""
    replicas = snapshot_loader.read_replicas([deployment.pk], snapshot_loader.configured_policy(), now)
    return restart_backoff(deployment, replicas.values(), now)


def restart_backoff(deployment: Deployment, replicas: Iterable[Replica], now: datetime) -> Backoff:
    """When a replacement may start after the failures among `replicas`, which are the live ones and
    those that failed recently."""
    views = [snapshot_loader.replica_view(replica) for replica in replicas]
    return backoff.compute(snapshot_loader.deployment_view(deployment), views, snapshot_loader.configured_policy(), now)


def start_key(deployment: Deployment, spec: Mapping[str, Any]) -> StartKey | None:
    """`spec`: the configuration of a revision; None if it cannot be read."""
    try:
        what = spec["gpu_count"], spec["model"]["id"], spec["engine"]["name"]
    except (KeyError, TypeError):
        return None
    return deployment.endpoint.cluster_id, deployment.gpu_type_id, *what


def measure_starts(deployment: Deployment, besides: Collection[UUID] = ()) -> MeasuredStarts:
    """The latest STARTS_MEASURED starts that became ready with the same model, engine, GPU type, GPU count and cluster,
    without the replicas `besides`. One query."""
    if deployment.revision is None:
        return MeasuredStarts({}, None)
    key = start_key(deployment, deployment.revision.spec)
    return _measure_starts([key], besides).get(key, MeasuredStarts({}, None)) if key else MeasuredStarts({}, None)


def _measure_starts(keys: Collection[StartKey], besides: Collection[UUID] = ()) -> dict[StartKey, MeasuredStarts]:
    """By key, the latest STARTS_MEASURED of each; keys without an earlier start are absent. Replicas that ended long
    ago are deleted, which bounds what is read."""
    names = ("cluster_id", "gpu_type_id", "gpu_count", "revision__spec__model__id", "revision__spec__engine__name")
    same = reduce(or_, (Q(**dict(zip(names, key, strict=True))) for key in keys))
    latest = Window(RowNumber(), partition_by=[F(name) for name in names], order_by=["-ready_at", "-id"])
    replicas = Replica.objects.filter(same, ready_at__isnull=False).exclude(pk__in=besides)
    replicas = replicas.alias(place=latest).filter(place__lte=STARTS_MEASURED).order_by()
    phases = ReplicaPhase.objects.filter(
        replica__in=replicas.values("pk"), name__in=STARTING_ORDER, ended_at__isnull=False
    )
    columns = ("name", "started_at", "ended_at", "replica_id", *(f"replica__{name}" for name in names))
    measured: dict[StartKey, dict[UUID, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for name, started_at, ended_at, replica_id, *key in phases.order_by().values_list(*columns):
        measured[tuple(key)][replica_id][name] = (ended_at - started_at).total_seconds()
    return {key: _summarize(list(starts.values())) for key, starts in measured.items()}


def _summarize(starts: Sequence[Mapping[str, float]]) -> MeasuredStarts:
    phases = {name: [start[name] for start in starts if name in start] for name in STARTING_ORDER}
    durations = {name.value: _durations(seconds) for name, seconds in phases.items() if seconds}
    return MeasuredStarts(durations, _durations([sum(start.values()) for start in starts]))


def _durations(seconds: Sequence[float]) -> Durations:
    high = max(seconds)
    if len(seconds) >= COUNT_FOR_P95:
        high = statistics.quantiles(seconds, n=20, method="inclusive")[18]
    return Durations(statistics.median(seconds), high, min(seconds), len(seconds))


def start_limits(replica: Replica, measured: MeasuredStarts) -> StartLimits | None:
    """Of a replica in a starting phase, with its revision; it fails when the reconciler gives it up. None if that
    revision cannot be read."""
    try:
        weight_bytes = snapshot_loader.weight_bytes(replica)
    except (KeyError, TypeError):
        return None
    policy = snapshot_loader.configured_policy()
    deadline = deadlines.find_limit(ReplicaState(replica.state), policy, weight_bytes).seconds
    expected = deadline * LATE_SHARE
    if usual := measured.phases.get(replica.state):
        expected = min(deadline, max(usual.high_seconds * LATE_FACTOR, usual.high_seconds + LATE_SECONDS))
    since = replica.state_since
    return StartLimits(since + timedelta(seconds=expected), since + timedelta(seconds=deadline))


def late_starts(deployments: QuerySet[Deployment], now: datetime) -> dict[UUID, StartLimits]:
    """The limits of the first late start of each deployment that has one. At most two queries."""
    long_since = now - timedelta(seconds=LATE_SECONDS)
    replicas = Replica.objects.filter(deployment__in=deployments, state__in=STARTING, state_since__lt=long_since)
    replicas = replicas.select_related("deployment__endpoint", "revision").only(*LATE_START_COLUMNS)
    starting = list(replicas.order_by("state_since", "id"))
    keys = {replica.pk: start_key(replica.deployment, replica.revision.spec) for replica in starting}
    known_keys = {key for key in keys.values() if key}
    measured = _measure_starts(known_keys, list(keys)) if known_keys else {}
    late: dict[UUID, StartLimits] = {}
    for replica in starting:
        key = keys[replica.pk]
        limits = start_limits(replica, measured.get(key, MeasuredStarts({}, None)) if key else MeasuredStarts({}, None))
        if limits and limits.is_late(now):
            late.setdefault(replica.deployment_id, limits)
    return late


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


def live_counts(deployment_ids: Sequence[UUID]) -> dict[UUID, tuple[int, int]]:
    """By deployment, how many replicas are READY, and how many are neither stopped nor failed; deployments without
    one are absent."""
    rows = Replica.objects.filter(deployment_id__in=deployment_ids, state__in=LIVE).order_by()
    counts: dict[UUID, tuple[int, int]] = {}
    for deployment_id, state, count in rows.values_list("deployment_id", "state").annotate(count=Count("id")):
        ready, live = counts.get(deployment_id, (0, 0))
        counts[deployment_id] = ready + count * (state == ReplicaState.READY), live + count
    return counts
