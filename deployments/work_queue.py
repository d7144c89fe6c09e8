"""Wakeups make work start sooner. They carry no facts: losing all of them costs latency, never correctness.

The queue is the table `WorkItem`. A message to the workers only says that there is work; at most one is in transit.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import kombu.exceptions
import redis
from celery import current_app
from django.db import transaction

from accounts.redis_client import redis_client
from deployments.models import WorkItem

log = logging.getLogger(__name__)
WORK = "mc:work"
COALESCE_MILLISECONDS = 1000


@transaction.atomic
def make_due(deployment_ids: Iterable[UUID | str], now: datetime) -> None:
    """Make these deployments due now, and wake the workers on commit. Unknown and deleted ids are ignored."""
    due = WorkItem.objects.filter(pk__in=list(deployment_ids), deployment__deleted_at=None)
    locked = list(due.order_by("pk").select_for_update(of=("self",)).values_list("pk", flat=True))
    if locked:
        WorkItem.objects.filter(pk__in=locked).update(next_due_at=now)
        transaction.on_commit(wake_workers)


def wake_workers() -> None:
    """Send one message to the workers, unless one is in transit."""
    try:
        if redis_client().set(WORK, 1, nx=True, px=COALESCE_MILLISECONDS):
            current_app.send_task("deployments.tasks.reconcile_batch", expires=10)
    except (redis.RedisError, kombu.exceptions.OperationalError) as error:
        log.warning("Workers not woken, the next tick takes the work: %s", error)


def acknowledge() -> None:
    """A worker reads the queue now: later work needs a new message."""
    try:
        redis_client().delete(WORK)
    except redis.RedisError as error:
        log.warning("Wakeups may be late: %s", error)
