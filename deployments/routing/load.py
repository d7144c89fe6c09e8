"""The load of deployments, as the gateways count it in Redis: requests in flight and waiting, and the last arrival.

A load of None is UNKNOWN: no gateway is alive, or Redis is unavailable or has no epoch. A caller that draws conclusions
from zero load must also compare the epoch with the one under which its observation began.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import redis

from accounts.redis_client import redis_client
from gateway import contract

log = logging.getLogger(__name__)
Fields = Mapping[bytes, bytes]


@dataclass(frozen=True)
class Load:
    """One deployment's load at one moment, summed over all gateways.

    `in_flight`: requests by replica id; an absent id means 0. `serving`: ids of the replicas that `admit` may choose.
    `wake`: a request arrived while the deployment was asleep or had no replica. `asleep`: `admit` grants no slot.
    """

    epoch: str
    in_flight: Mapping[str, int]
    serving: frozenset[str]
    waiting: int = 0
    oldest_waiting_seconds: float = 0.0
    last_arrival_at: datetime | None = None
    wake: bool = False
    asleep: bool = False

    @property
    def total(self) -> int:
        return sum(self.in_flight.values()) + self.waiting

    def is_drained(self, replica_id: str, epoch: str) -> bool:
        """Whether a drain that began under `epoch` is complete: nothing in flight, and no new request can arrive."""
        return self.epoch == epoch and replica_id not in self.serving and self.in_flight.get(replica_id, 0) == 0


def read_epoch() -> str:
    """The epoch of Redis; empty when it has none or Redis is unavailable."""
    try:
        value = redis_client().get(contract.EPOCH)
    except redis.RedisError:
        return ""
    return value.decode() if isinstance(value, bytes) else ""


def read_loads(deployment_ids: Iterable[UUID]) -> dict[UUID, Load | None]:
    """The load of each deployment, read in one transaction."""
    ids = list(deployment_ids)
    if not ids:
        return {}
    try:
        with redis_client().pipeline(transaction=True) as pipeline:
            pipeline.time()
            pipeline.get(contract.EPOCH)
            pipeline.zrange(contract.GATEWAYS, 0, -1, withscores=True)
            for pk in ids:
                pipeline.hgetall(contract.replicas_key(str(pk)))
                pipeline.hgetall(contract.slots_key(str(pk)))
                pipeline.hgetall(contract.load_key(str(pk)))
            (seconds, micros), epoch, gateways, *hashes = pipeline.execute()
    except redis.RedisError as error:
        log.warning("Load is unknown: %s", error)
        return dict.fromkeys(ids)
    now = seconds + micros / 1e6
    alive = {name.decode() for name, beat in gateways if now - beat <= contract.GATEWAY_DEAD_SECONDS}
    if not alive or epoch is None:
        return dict.fromkeys(ids)
    parts = zip(ids, hashes[::3], hashes[1::3], hashes[2::3], strict=True)
    return {pk: _parse(epoch.decode(), replicas, slots, fields, alive, now) for pk, replicas, slots, fields in parts}


def _parse(epoch: str, replicas: Fields, slots: Fields, fields: Fields, alive: set[str], now: float) -> Load:
    records = [contract.ReplicaRecord.from_text(name.decode(), text.decode()) for name, text in replicas.items()]
    queues = [
        contract.Waiting.from_json(text)
        for name, text in fields.items()
        if (field := name.decode()).startswith(contract.WAITING) and field.removeprefix(contract.WAITING) in alive
    ]
    arrived = fields.get(contract.ARRIVED.encode())
    return Load(
        epoch=epoch,
        in_flight={name.decode(): int(count) for name, count in slots.items()},
        serving=frozenset(record.replica_id for record in records if not record.draining),
        waiting=sum(queue.count for queue in queues),
        oldest_waiting_seconds=max((now - queue.oldest_at for queue in queues if queue.count), default=0.0),
        last_arrival_at=datetime.fromtimestamp(int(arrived) / 1000, UTC) if arrived else None,
        wake=contract.WAKE.encode() in fields,
        asleep=contract.ASLEEP.encode() in fields,
    )
