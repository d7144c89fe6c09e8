"""Facts that money will rest on. UsageEvent is append-only: the application's role may neither update nor delete."""

from __future__ import annotations

import uuid

from django.db import models


class UsageEvent(models.Model):
    """One request at the gateway, exactly once: (request_id, admitted_at) is the key of a table partitioned by day.

    Partitions are made and dropped by SECURITY DEFINER functions of `console_owner`; rows are kept 35 days.
    """

    pk = models.CompositePrimaryKey("request_id", "admitted_at")
    request_id = models.UUIDField(default=uuid.uuid4)
    admitted_at = models.DateTimeField()
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
    ttft_seconds = models.FloatField(null=True)

    class Meta:
        managed = False
        db_table = "billing_usage_event"

    def __str__(self) -> str:
        return str(self.request_id)


class UsageHour(models.Model):
    """Requests and tokens per hour (of admission), deployment, key and caller; raised in the same transaction as
    the events, so a replay changes nothing."""

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
    """The last stream entry committed by a consumer, in the same transaction as its rows."""

    consumer = models.CharField(primary_key=True, max_length=40)
    position = models.CharField(max_length=40)

    def __str__(self) -> str:
        return f"{self.consumer} at {self.position}"
