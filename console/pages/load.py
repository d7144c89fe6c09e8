"""Requests in flight, as the gateways count them in Redis now."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any
from uuid import UUID

import redis

from accounts.connections import redis_client
from gateway import contract

log = logging.getLogger(__name__)


def in_flight(deployment_id: UUID) -> Counter[str] | None:
    """Requests in flight by replica id; None when it cannot be known now."""
    try:
        slots: dict[Any, Any] = redis_client().hgetall(contract.slots_key(str(deployment_id)))
    except redis.RedisError as error:
        log.warning("Requests in flight are unknown: %s", error)
        return None
    counts: Counter[str] = Counter()
    for slot, number in slots.items():
        counts[slot.decode().split(" ", 1)[0]] += max(0, int(number))
    return counts
