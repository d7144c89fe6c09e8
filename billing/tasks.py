"""Celery tasks of billing. Tasks read the clock and pass it on."""

from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from billing.partitions import drop_partitions, ensure_partitions
from billing.usage_ingestion import BATCH_SIZE, ingest_batch

BATCHES_PER_RUN = 50
PARTITION_DAYS_AHEAD = 3


@shared_task(name="billing.tasks.ingest_usage")
def ingest_usage() -> None:
    """Ingest pending entries of the usage stream, at most BATCHES_PER_RUN batches."""
    for _ in range(BATCHES_PER_RUN):
        if ingest_batch() < BATCH_SIZE:
            return


@shared_task(name="billing.tasks.roll_partitions")
def roll_partitions() -> None:
    """Create the partitions of today and the next two days, drop those past their retention."""
    now = timezone.now()  # noqa: TID251
    ensure_partitions(now + timedelta(days=days) for days in range(PARTITION_DAYS_AHEAD))
    drop_partitions(now - timedelta(days=settings.USAGE_EVENT_DAYS))
