"""The tables of deployments: desired state, observed state, and events.

Desired state is written by `services`, observed and decided state by `reconciler/state_writer.py`. Every tenant table
has an `organization_id`.
"""

from __future__ import annotations

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models

from accounts.models import Organization, User
from deployments import messages
from deployments.states import DeploymentStatus, ReplicaState


class GpuType(models.Model):
    """An accelerator product. `memory_gb`: the advertised size (10⁹ bytes); `memory_gib`: the size reported by NVML."""

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
    """Where replicas run. `simulated`: its GPUs are declared, not detected. `observed_at`: the last sweep.

    `installation_id`: the mark of this cluster's folder and replicas; null until the folder has it.
    """

    class Driver(models.TextChoices):
        LOCAL = "local"
        MEMORY = "memory"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.SlugField(max_length=63, unique=True)
    driver = models.CharField(max_length=20, choices=Driver.choices)
    simulated = models.BooleanField(default=False)
    installation_id = models.UUIDField(null=True, blank=True, editable=False)
    observed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class ClusterGpu(models.Model):
    """The number of GPUs of a type in a cluster."""

    cluster = models.ForeignKey(Cluster, models.CASCADE, related_name="gpus")
    gpu_type = models.ForeignKey(GpuType, models.PROTECT, related_name="+")
    count = models.PositiveIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["cluster", "gpu_type"], name="one_row_per_gpu_type")]

    def __str__(self) -> str:
        return f"{self.count} × {self.gpu_type_id}"


class Endpoint(models.Model):
    """The base URL at which deployments can be called: one gateway listener in front of one cluster."""

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

    @property
    def api_url(self) -> str:
        """What a client of the gateway uses as its base URL."""
        return make_api_url(self.base_url)


def make_api_url(base_url: str) -> str:
    return f"{base_url.rstrip('/').removesuffix('/v1')}/v1"


class CatalogModel(models.Model):
    """A model of the catalog, loaded from deployments/catalog/models.json. `architecture`: numbers of the model's own
    config.json; `weight_bytes`: the total size of its safetensors; `source_url`: where these were taken from."""

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
    """A model served on dedicated GPUs. Desired columns first, then decided ones.

    `request_hash`: SHA-256 of the body that created it, which makes creation idempotent. `version` increases with every
    change of desired state and is the ETag. A fixed number of replicas is a range of one number.
    `desired_replicas`: the autoscaler's last decision within the range, 0 while asleep.
    `tried_since`: earlier failures do not count. `woken_at`: when a request last woke it, until a replica is ready.
    `pending_since`: orders the queue for GPUs; null unless it waits for them. `pending_reason` (why fewer replicas of
    the desired configuration run than desired), `rollout_hold` and `cause`: codes with facts.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="deployments")
    endpoint = models.ForeignKey(Endpoint, models.PROTECT, related_name="deployments")
    name = models.CharField(max_length=63)
    description = models.CharField(max_length=500, blank=True)
    labels = models.JSONField(default=dict, blank=True)
    limits = models.JSONField(default=dict, blank=True)
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
    asleep_since = models.DateTimeField(null=True, blank=True)
    woken_at = models.DateTimeField(null=True, blank=True)
    rollout_hold = models.JSONField(null=True, blank=True)
    pending_since = models.DateTimeField(null=True, blank=True)
    pending_reason = models.JSONField(null=True, blank=True)
    failed_at = models.DateTimeField(null=True, blank=True)
    cause = models.JSONField(null=True, blank=True)
    ready_at = models.DateTimeField(null=True, blank=True)
    terminated_at = models.DateTimeField(null=True, blank=True)

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


class WorkItem(models.Model):
    """What every pass over a deployment writes, apart from the wide row: when it is due, and which pass holds it.

    `next_due_at`: null: only after a change. `observed_at`: the last pass that reached its cluster. `autoscaler`: the
    autoscaler's memory, where null times stand for `load_known_at`, the last pass with a known load; while the load
    stays the same, only that time changes. `failures`: passes in a row that an error of the console's own broke, since
    `failing_since`, the last one with an exception of class `error`; the next good pass clears them.

    No column but the key has an index and the table is half empty (fillfactor), so that every update stays on its page
    (HOT) and writes no index. Due rows are found by reading the whole table: a millisecond for 10,000 deployments.
    """

    deployment = models.OneToOneField(Deployment, models.CASCADE, primary_key=True, related_name="work")
    next_due_at = models.DateTimeField(null=True, blank=True)
    lease_token = models.UUIDField(null=True, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    observed_at = models.DateTimeField(null=True, blank=True)
    load_known_at = models.DateTimeField(null=True, blank=True)
    autoscaler = models.JSONField(default=dict, blank=True)
    failures = models.PositiveIntegerField(default=0)
    failing_since = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=100, blank=True)

    def __str__(self) -> str:
        return f"work on {self.deployment_id}"


class WorkerHeartbeat(models.Model):
    """One row: since when workers have run without a gap, and their last sign of life (`worker_heartbeat`)."""

    id = models.PositiveSmallIntegerField(primary_key=True)
    up_since = models.DateTimeField()
    beat_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"up since {self.up_since:%Y-%m-%d %H:%M:%S}"


class Revision(models.Model):
    """An immutable configuration. `spec`: RevisionSpec of config/deployment_spec.py as JSON; `spec_hash`: its SHA-256.

    `restores`: the number of the revision that a rollback restored. `ready_at`: when a replica of it first became
    READY; `cause`: why it could not start and was rolled back.
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


class ReplicaManager(models.Manager["Replica"]):
    """Leaves out `log_tail`, up to 256 KiB in each row, which is read where it is needed."""

    def get_queryset(self) -> models.QuerySet[Replica]:
        return super().get_queryset().defer("log_tail")


class Replica(models.Model):
    """One engine. Its row is committed before the cluster is called; `name` is derived from the id.

    `start_requested_at` and `stop_requested_at`: intents, committed before the driver call. `released_at`: the
    provider's exit time, else its last heartbeat, else the last observation. `listed`: the cluster showed it in the
    last pass that reached the cluster, at the work item's `observed_at`; `last_seen_at`: the last such time before it
    was missing. `gone_declared_at`: when an operator declared it gone, which had become UNKNOWN. `drain_epoch`: the
    epoch of Redis when the drain began; under another epoch, counts of requests in flight are meaningless.
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
    listed = models.BooleanField(default=False)
    last_seen_at = models.DateTimeField(null=True, blank=True)
    gone_declared_at = models.DateTimeField(null=True, blank=True)
    released_at = models.DateTimeField(null=True, blank=True)
    log_tail = models.TextField(blank=True)

    objects = ReplicaManager()

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
    """The history of a replica's states: half-open intervals, never negative, never empty once ended."""

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
    """An event of a deployment, as a code and facts; append-only. `actor`: an e-mail address, or "console"."""

    id = models.BigAutoField(primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    deployment = models.ForeignKey(Deployment, models.CASCADE, related_name="events")
    at = models.DateTimeField()
    kind = models.CharField(max_length=40)
    actor = models.CharField(max_length=254)
    facts = models.JSONField(default=dict)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["deployment", "-id"])]

    def __str__(self) -> str:
        return self.kind

    @property
    def summary(self) -> str:
        """In one line, as today's catalogue words it."""
        return messages.describe_event(self.kind, self.actor, self.facts)
