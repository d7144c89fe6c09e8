"""Celery tasks of the console itself. Tasks read the clock and pass it on."""

from celery import shared_task
from django.utils import timezone

from console.api import idempotency


@shared_task(name="console.tasks.delete_idempotency_records")
def delete_idempotency_records() -> None:
    idempotency.delete_old_records(timezone.now())  # noqa: TID251
