"""Celery tasks of accounts. Tasks read the clock and pass `now` on."""

from celery import shared_task
from django.utils import timezone

from accounts import key_publication, services


@shared_task(name="accounts.tasks.publish_keys")
def publish_keys() -> None:
    key_publication.publish_keys(timezone.now())  # noqa: TID251


@shared_task(name="accounts.tasks.delete_expired_playground_keys")
def delete_expired_playground_keys() -> None:
    services.delete_expired_playground_keys(timezone.now())  # noqa: TID251


@shared_task(name="accounts.tasks.delete_ended_sessions")
def delete_ended_sessions() -> None:
    services.delete_ended_sessions(timezone.now())  # noqa: TID251
