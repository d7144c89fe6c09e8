"""Hints make work happen sooner and carry no facts: losing all of them costs latency, never correctness.

The queue is the column `next_due_at`; a message only says that there is work, and at most one is on its way.
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
from deployments.models import Deployment

log = logging.getLogger(__name__)
WORK = "mc:work"
_COALESCE_MILLISECONDS = 1000


@transaction.atomic
def hint(deployment_ids: Iterable[UUID | str], now: datetime) -> None:
    """Make these deployments due now and say so on commit. Unknown and deleted ones are passed over."""
    due = Deployment.objects.filter(pk__in=list(deployment_ids), deleted_at=None)
    locked = list(due.order_by("pk").select_for_update().values_list("pk", flat=True))
    if locked:
        Deployment.objects.filter(pk__in=locked).update(next_due_at=now)
        transaction.on_commit(there_is_work)


def there_is_work() -> None:
    """One message to the workers, unless one is on its way."""
    try:
        if redis_client().set(WORK, 1, nx=True, px=_COALESCE_MILLISECONDS):
            current_app.send_task("deployments.tasks.reconcile_batch", expires=10)
    except (redis.RedisError, kombu.exceptions.OperationalError) as error:
        log.warning("No hint to the workers, the next tick will do: %s", error)


def work_begins() -> None:
    """A worker looks at the queue now: what comes after this needs a message of its own."""
    try:
        redis_client().delete(WORK)
    except redis.RedisError as error:
        log.warning("Hints may be late: %s", error)
