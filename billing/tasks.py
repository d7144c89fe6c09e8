"""Celery tasks of billing: the edge where the clock is read."""

from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from billing import ingest

BATCHES_PER_RUN = 50


@shared_task(name="billing.tasks.ingest_usage")
def ingest_usage() -> None:
    """Commit what waits in the usage stream, at most BATCHES_PER_RUN batches."""
    for _ in range(BATCHES_PER_RUN):
        if ingest.ingest() < ingest.BATCH:
            return


@shared_task(name="billing.tasks.roll_partitions")
def roll_partitions() -> None:
    """Make the partitions of today and the next two days, drop those past their keeping."""
    now = timezone.now()  # noqa: TID251
    ingest.ensure_partitions(now + timedelta(days=ahead) for ahead in range(3))
    ingest.drop_partitions(now - timedelta(days=settings.USAGE_EVENT_DAYS))
