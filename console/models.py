"""What the console itself keeps."""

from __future__ import annotations

from django.db import models

from accounts.models import Organization


class IdempotencyRecord(models.Model):
    """The answer to a POST that carried an Idempotency-Key. `scope` is the SHA-256 of person, organization, address and
    key; `answer` is encrypted JSON (status, data, headers). Kept for
    IDEMPOTENCY_RECORD_DAYS."""

    scope = models.CharField(primary_key=True, max_length=64)
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="+")
    request_hash = models.CharField(max_length=64)
    answer = models.BinaryField()
    created_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["organization", "created_at"])]

    def __str__(self) -> str:
        return self.scope[:12]
