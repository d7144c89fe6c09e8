"""What should run, what runs, and what happened. Desired state is written by services.py, observed state by
reconciler/apply.py; nobody else writes these tables. Every tenant table carries `organization_id`."""

from __future__ import annotations

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models

from accounts.models import Organization, User
from deployments.states import DeploymentStatus, ReplicaState


class GpuType(models.Model):
    """An accelerator product. `memory_gb` is what the vendor sells (10⁹ bytes), `memory_gib` what a driver reports."""

    id = models.SlugField(primary_key=True, max_length=40)
    title = models.CharField(max_length=60)
    vendor = models.CharField(max_length=20)
    memory_gb = models.PositiveIntegerField()
    memory_gib = models.DecimalField(max_digits=7, decimal_places=2)
    source_url = models.URLField(max_length=300, blank=True)

    class Meta:
        ordering = ["memory_gb", "id"]

    def __str__(self) -> str:
        return self.title


class Cluster(models.Model):
    """Where replicas run. `simulated`: its GPUs are declared, not found; shown wherever a number comes from it."""

    class Driver(models.TextChoices):
        LOCAL = "local"
        MEMORY = "memory"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.SlugField(max_length=63, unique=True)
    driver = models.CharField(max_length=20, choices=Driver.choices)
    simulated = models.BooleanField(default=False)
    observed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class ClusterGpu(models.Model):
    """The inventory of a cluster: how many GPUs of a type it has."""

    cluster = models.ForeignKey(Cluster, models.CASCADE, related_name="gpus")
    gpu_type = models.ForeignKey(GpuType, models.PROTECT, related_name="+")
    count = models.PositiveIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["cluster", "gpu_type"], name="one_row_per_gpu_type")]

    def __str__(self) -> str:
        return f"{self.count} × {self.gpu_type_id}"


class Endpoint(models.Model):
    """The address on which deployments are exposed: one gateway listener in front of one cluster."""

    class Visibility(models.TextChoices):
        PUBLIC = "public"
        PRIVATE = "private"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.SlugField(max_length=63, unique=True)
    base_url = models.CharField(max_length=200)
    visibility = models.CharField(max_length=10, choices=Visibility.choices, default=Visibility.PUBLIC)
    cluster = models.ForeignKey(Cluster, models.PROTECT, related_name="endpoints")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class CatalogModel(models.Model):
    """A curated entry of the hosted list. `architecture` holds the numbers of the model's own config.json;
    `weight_bytes` is the sum of its safetensors. Loaded from deployments/catalog.json, each entry with its source."""

    id = models.SlugField(primary_key=True, max_length=80)
    title = models.CharField(max_length=120)
    family = models.CharField(max_length=40)
    publisher = models.CharField(max_length=80)
    repository = models.CharField(max_length=120)
    description = models.CharField(max_length=300, blank=True)
    parameters = models.BigIntegerField()
    active_parameters = models.BigIntegerField(null=True, blank=True)
    weight_bytes = models.BigIntegerField()
    dtype = models.CharField(max_length=12)
    context_length = models.PositiveIntegerField()
    architecture = models.JSONField()
    license = models.CharField(max_length=60)
    source_url = models.URLField(max_length=300)
    sourced_at = models.DateField()
    gated = models.BooleanField(default=False)

    class Meta:
        ordering = ["family", "parameters"]

    def __str__(self) -> str:
        return self.title


class Deployment(models.Model):
    """A model served on dedicated GPUs. Desired columns above, observed columns below, the queue last.

    `request_hash` is the SHA-256 of the body that created it: the same body again is the same deployment. `version`
    rises with every change that people make and is the ETag. A fixed number of replicas is a range of one number.
    `desired_replicas` is what the autoscaler made of the range last, 0 while asleep; `autoscaler` is its memory.
    `tried_since`: failures before it don't count any more. `woken_at`: when a request woke it last.
    `pending_since` is its place in the queue for GPUs; null while it has all it wants or may not start yet.
    `observed_at` is when a pass of the reconciler last looked at its replicas.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="deployments")
    endpoint = models.ForeignKey(Endpoint, models.PROTECT, related_name="deployments")
    name = models.CharField(max_length=63)
    description = models.CharField(max_length=500, blank=True)
    labels = models.JSONField(default=dict, blank=True)
    request_hash = models.CharField(max_length=64, blank=True)
    gpu_type = models.ForeignKey(GpuType, models.PROTECT, related_name="+")
    revision = models.ForeignKey("Revision", models.PROTECT, null=True, related_name="+")
    version = models.PositiveIntegerField(default=1)
    autoscaling_enabled = models.BooleanField(default=False)
    min_replicas = models.PositiveIntegerField(default=1)
    max_replicas = models.PositiveIntegerField(default=1)
    scale_down_delay_seconds = models.PositiveIntegerField(default=300)
    sleep_after_seconds = models.PositiveIntegerField(null=True, blank=True)
    tried_since = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    terminate_requested_at = models.DateTimeField(null=True, blank=True)
    terminated_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    deleted_at = models.DateTimeField(null=True, blank=True)

    status = models.CharField(
        max_length=12, choices=[(s, s) for s in DeploymentStatus], default=DeploymentStatus.PENDING
    )
    status_since = models.DateTimeField()
    phase = models.CharField(max_length=20, blank=True)
    desired_replicas = models.PositiveIntegerField(default=1)
    autoscaler = models.JSONField(default=dict, blank=True)
    asleep_since = models.DateTimeField(null=True, blank=True)
    woken_at = models.DateTimeField(null=True, blank=True)
    rollout_hold = models.CharField(max_length=300, blank=True)
    pending_since = models.DateTimeField(null=True, blank=True)
    pending_reason = models.CharField(max_length=200, blank=True)
    failed_at = models.DateTimeField(null=True, blank=True)
    cause = models.JSONField(null=True, blank=True)
    ready_at = models.DateTimeField(null=True, blank=True)
    terminated_at = models.DateTimeField(null=True, blank=True)

    next_due_at = models.DateTimeField(null=True, blank=True, db_index=True)
    lease_token = models.UUIDField(null=True, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    observed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "name"],
                condition=models.Q(deleted_at=None),
                name="name_is_unique_among_what_is_not_deleted",
            )
        ]
        indexes = [
            models.Index(fields=["organization", "-created_at"]),
            models.Index(fields=["endpoint", "gpu_type", "pending_since"]),
        ]

    def __str__(self) -> str:
        return self.name


class Revision(models.Model):
    """Immutable configuration of what runs. `spec` is specs.RevisionSpec as JSON, `spec_hash` its SHA-256.

    `restores` is the number of the revision whose configuration a rollback brought back. `ready_at`: when a replica of
    it first became READY; `cause`: why it could not start and was rolled back.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    deployment = models.ForeignKey(Deployment, models.CASCADE, related_name="revisions")
    number = models.PositiveIntegerField()
    spec = models.JSONField()
    spec_hash = models.CharField(max_length=64)
    restores = models.PositiveIntegerField(null=True, blank=True)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField()
    ready_at = models.DateTimeField(null=True, blank=True)
    cause = models.JSONField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["deployment", "number"], name="revision_numbers_are_unique")]

    def __str__(self) -> str:
        return f"revision {self.number}"


class Replica(models.Model):
    """One running engine. The row exists before the cluster is asked; `name` derives from the id.

    `start_requested_at`/`stop_requested_at` are intents committed before the driver call. `released_at` is the
    provider's exit stamp, else its last heartbeat, else the last sighting. `drain_epoch` is Redis' epoch when the
    drain began: under another one, counts of requests in flight mean nothing.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    deployment = models.ForeignKey(Deployment, models.CASCADE, related_name="replicas")
    revision = models.ForeignKey(Revision, models.PROTECT, related_name="replicas")
    cluster = models.ForeignKey(Cluster, models.PROTECT, related_name="+")
    gpu_type = models.ForeignKey(GpuType, models.PROTECT, related_name="+")
    gpu_count = models.PositiveIntegerField()
    name = models.CharField(max_length=63, unique=True)
    state = models.CharField(max_length=20, choices=[(s, s) for s in ReplicaState], default=ReplicaState.REQUESTING_GPU)
    state_since = models.DateTimeField()
    serving = models.BooleanField(default=False)
    unhealthy_since = models.DateTimeField(null=True, blank=True)
    cause = models.JSONField(null=True, blank=True)
    stop_reason = models.CharField(max_length=40, blank=True)
    node = models.CharField(max_length=120, blank=True)
    address = models.CharField(max_length=120, blank=True)
    gpu_indices = ArrayField(models.IntegerField(), default=list, blank=True)
    bytes_done = models.BigIntegerField(null=True, blank=True)
    bytes_total = models.BigIntegerField(null=True, blank=True)
    restarts = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()
    start_requested_at = models.DateTimeField(null=True, blank=True)
    ready_at = models.DateTimeField(null=True, blank=True)
    drain_started_at = models.DateTimeField(null=True, blank=True)
    drain_epoch = models.CharField(max_length=64, blank=True)
    stop_requested_at = models.DateTimeField(null=True, blank=True)
    last_seen_at = models.DateTimeField(null=True, blank=True)
    released_at = models.DateTimeField(null=True, blank=True)
    log_tail = models.TextField(blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["deployment", "-created_at"]),
            models.Index(
                fields=["cluster", "gpu_type"],
                condition=~models.Q(state__in=["STOPPED", "FAILED"]),
                name="live_replicas_by_pool",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class ReplicaPhase(models.Model):
    """History of one replica's states: half-open intervals, never negative, never empty once closed."""

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    replica = models.ForeignKey(Replica, models.CASCADE, related_name="phases")
    name = models.CharField(max_length=20)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["started_at", "id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(ended_at=None) | models.Q(ended_at__gte=models.F("started_at")),
                name="phase_is_not_negative",
            )
        ]

    def __str__(self) -> str:
        return self.name


class DeploymentEvent(models.Model):
    """What happened to a deployment, in words and facts; append-only. `actor` is an e-mail, or "console"."""

    id = models.BigAutoField(primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    deployment = models.ForeignKey(Deployment, models.CASCADE, related_name="events")
    at = models.DateTimeField()
    kind = models.CharField(max_length=40)
    actor = models.CharField(max_length=254)
    summary = models.CharField(max_length=300)
    data = models.JSONField(default=dict)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["deployment", "-id"])]

    def __str__(self) -> str:
        return self.summary
