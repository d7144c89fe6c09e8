"""Requests in flight, read from the slots that the gateways count in Redis. A number, or UNKNOWN (absent).

A drain may end early only if the number means something: a gateway is alive, Redis is the one in which the drain
began, and what it shows to `admit` is that the replica gets nothing new, read at the same moment as the count.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import redis

from accounts.connections import redis_client
from deployments.models import Replica
from gateway import contract

log = logging.getLogger(__name__)


def epoch() -> str:
    """Redis' epoch; empty when it has none or is away."""
    try:
        value = redis_client().get(contract.EPOCH)
    except redis.RedisError:
        return ""
    return value.decode() if isinstance(value, bytes) else ""


def in_flight(draining: Iterable[Replica]) -> dict[str, int]:
    """Requests in flight by replica id, of those draining replicas for which it is known."""
    by_deployment: dict[UUID, list[Replica]] = defaultdict(list)
    for replica in draining:
        by_deployment[replica.deployment_id].append(replica)
    if not by_deployment:
        return {}
    try:
        return _read(by_deployment)
    except redis.RedisError as error:
        log.warning("Load is unknown, drains wait for their limit: %s", error)
        return {}


def _read(by_deployment: dict[UUID, list[Replica]]) -> dict[str, int]:
    with redis_client().pipeline(transaction=True) as pipeline:
        pipeline.time()
        pipeline.get(contract.EPOCH)
        pipeline.zrange(contract.GATEWAYS, -1, -1, withscores=True)
        for deployment_id in by_deployment:
            pipeline.hgetall(contract.replicas_key(str(deployment_id)))
            pipeline.hgetall(contract.slots_key(str(deployment_id)))
        (seconds, _), current, latest, *hashes = pipeline.execute()
    if not latest or seconds - latest[0][1] > contract.GATEWAY_DEAD_SECONDS or current is None:
        return {}
    known: dict[str, int] = {}
    for replicas, shown, slots in zip(by_deployment.values(), hashes[::2], hashes[1::2], strict=True):
        for replica in replicas:
            if replica.drain_epoch == current.decode() and _gets_nothing_new(shown, str(replica.pk)):
                known[str(replica.pk)] = _slots_of(slots, str(replica.pk))
    return known


def _gets_nothing_new(shown: dict[bytes, bytes], replica_id: str) -> bool:
    record = shown.get(replica_id.encode())
    return record is None or contract.ReplicaRecord.from_json(record).draining


def _slots_of(slots: dict[bytes, Any], replica_id: str) -> int:
    return sum(int(count) for name, count in slots.items() if name.decode().split(" ")[0] == replica_id)
