"""Celery tasks of accounts: the edge where the clock is read."""

from celery import shared_task
from django.utils import timezone

from accounts import publish, services


@shared_task(name="accounts.tasks.publish_keys")
def publish_keys() -> None:
    publish.publish_keys(timezone.now())  # noqa: TID251


@shared_task(name="accounts.tasks.forget_old_playground_keys")
def forget_old_playground_keys() -> None:
    services.forget_old_playground_keys(timezone.now())  # noqa: TID251
