"""Celery tasks of the console itself. Tasks read the clock and pass it on."""

import logging

import redis
from celery import shared_task
from django.utils import timezone

from accounts.redis_client import redis_client
from console.api import idempotency

log = logging.getLogger(__name__)
# Of its maximum: beyond this share Redis soon refuses requests, because it must not evict anything.
FULL_SHARE = 0.8


@shared_task(name="console.tasks.delete_idempotency_records")
def delete_idempotency_records() -> None:
    idempotency.delete_old_records(timezone.now())  # noqa: TID251


@shared_task(name="console.tasks.check_redis_memory")
def check_redis_memory() -> None:
    """Log an error while Redis uses most of its memory."""
    try:
        memory = redis_client().info("memory")
    except redis.RedisError as error:
        log.warning("The memory of Redis cannot be checked: %s", error)
        return
    used, maximum = int(memory["used_memory"]), int(memory["maxmemory"])
    if maximum and used > FULL_SHARE * maximum:
        log.error(
            "Redis uses %d of %d MB. When it is full, new requests are refused. Raise maxmemory, or find out why usage "
            "is not counted: mc:usage is trimmed when it is",
            used // 2**20,
            maximum // 2**20,
        )
