"""Usage of the gateway: append-only rows per request, sums per hour, and the position of the ingestion."""

from __future__ import annotations

import uuid

from django.db import models


class UsageEvent(models.Model):
    """One request at the gateway. The table is partitioned by UTC day of `admitted_at` and rows are kept for 35 days.

    A provisional event is followed by a row with the next `sequence` when a better one arrives. Its tokens are the
    difference to the rows before it, so the tokens of a request are the sum over its rows. Everything else in it
    replaces what the rows before it state. A request has exactly one row with sequence 0.

    The application's database role can insert rows but neither update nor delete them; a trigger enforces the same for
    the owner. Partitions are managed by `billing.partitions`.
    """

    pk = models.CompositePrimaryKey("request_id", "admitted_at", "sequence")
    request_id = models.UUIDField(default=uuid.uuid4)
    admitted_at = models.DateTimeField()
    sequence = models.PositiveSmallIntegerField(default=0)
    finished_at = models.DateTimeField()
    organization_id = models.UUIDField()
    owner_organization_id = models.UUIDField()
    deployment_id = models.UUIDField()
    replica_id = models.UUIDField()
    key_id = models.UUIDField()
    user_id = models.UUIDField()
    gateway_id = models.CharField(max_length=64)
    model = models.CharField(max_length=200)
    stream = models.BooleanField()
    outcome = models.CharField(max_length=20)
    status = models.PositiveSmallIntegerField()
    input_tokens = models.BigIntegerField()
    cached_input_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    estimated = models.BooleanField()
    provisional = models.BooleanField(default=False)
    ttft_seconds = models.FloatField(null=True)
    itl_mean_seconds = models.FloatField(null=True)
    itl_p99_seconds = models.FloatField(null=True)
    queue_seconds = models.FloatField(null=True)
    cold = models.BooleanField(null=True)

    class Meta:
        managed = False
        db_table = "billing_usage_event"

    def __str__(self) -> str:
        return str(self.request_id)


class UsageHour(models.Model):
    """Requests and tokens per hour of admission, deployment, key, user and organization.

    Updated in the transaction that inserts the events, so a repeated event is not counted twice.
    """

    organization_id = models.UUIDField()
    owner_organization_id = models.UUIDField()
    deployment_id = models.UUIDField()
    key_id = models.UUIDField()
    user_id = models.UUIDField()
    hour = models.DateTimeField()
    requests = models.BigIntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    cached_input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["hour", "deployment_id", "key_id", "user_id", "organization_id"],
                name="one_row_per_hour_and_caller",
            )
        ]
        indexes = [
            models.Index(fields=["organization_id", "hour"]),
            models.Index(fields=["owner_organization_id", "hour"]),
        ]

    def __str__(self) -> str:
        return f"{self.deployment_id} {self.hour}"


class StreamPosition(models.Model):
    """The id of the last stream entry that a consumer has committed, written in the same transaction as its rows."""

    consumer = models.CharField(primary_key=True, max_length=40)
    position = models.CharField(max_length=40)

    def __str__(self) -> str:
        return f"{self.consumer} at {self.position}"
