"""What the gateways count in Redis: requests in flight and waiting, the last arrival, and the flip to sleep.

A `Load`, or UNKNOWN (None): no gateway lives, or Redis is away or has no epoch. Whoever concludes something from
silence must besides compare the epoch with the one under which it began to listen.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import redis

from accounts.redis_client import redis_client
from deployments.demand import Load as Load
from gateway import contract

log = logging.getLogger(__name__)
SLEEP = (Path(__file__).parent / "scripts" / "sleep.lua").read_text()
Fields = Mapping[bytes, bytes]


def epoch() -> str:
    """Redis' epoch; empty when it has none or is away."""
    try:
        value = redis_client().get(contract.EPOCH)
    except redis.RedisError:
        return ""
    return value.decode() if isinstance(value, bytes) else ""


def read(deployment_ids: Iterable[UUID]) -> dict[UUID, Load | None]:
    """The load of each deployment, all of it read at one moment."""
    ids = list(deployment_ids)
    if not ids:
        return {}
    try:
        return _read(ids)
    except redis.RedisError as error:
        log.warning("Load is unknown: %s", error)
        return dict.fromkeys(ids)


def fall_asleep(deployment_id: UUID, epoch: str, idle_seconds: float) -> str:
    """Flip it to sleep if nothing is in flight, waiting or just arrived: "asleep", else the script's reason."""
    key = str(deployment_id)
    try:
        answer = redis_client().eval(
            SLEEP,
            5,
            contract.load_key(key),
            contract.slots_key(key),
            contract.GATEWAYS,
            contract.EPOCH,
            contract.GENERATION,
            epoch,
            round(idle_seconds * 1000),
            contract.GATEWAY_DEAD_SECONDS,
        )
    except redis.RedisError as error:
        log.warning("Deployment %s stays awake, Redis is away: %s", key, error)
        return "unknown"
    return answer.decode() if isinstance(answer, bytes) else str(answer)


def _read(ids: list[UUID]) -> dict[UUID, Load | None]:
    with redis_client().pipeline(transaction=True) as pipeline:
        pipeline.time()
        pipeline.get(contract.EPOCH)
        pipeline.zrange(contract.GATEWAYS, 0, -1, withscores=True)
        for one in ids:
            pipeline.hgetall(contract.replicas_key(str(one)))
            pipeline.hgetall(contract.slots_key(str(one)))
            pipeline.hgetall(contract.load_key(str(one)))
        (seconds, micros), current, gateways, *hashes = pipeline.execute()
    now = seconds + micros / 1e6
    alive = {name.decode() for name, beat in gateways if now - beat <= contract.GATEWAY_DEAD_SECONDS}
    if not alive or current is None:
        return dict.fromkeys(ids)
    parts = zip(ids, hashes[::3], hashes[1::3], hashes[2::3], strict=True)
    return {one: _load(current.decode(), shown, slots, fields, alive, now) for one, shown, slots, fields in parts}


def _load(epoch: str, shown: Fields, slots: Fields, fields: Fields, alive: set[str], now: float) -> Load:
    waiting = [one for one in _waiting(fields, alive) if one.count]
    arrived = fields.get(contract.ARRIVED.encode())
    return Load(
        epoch=epoch,
        in_flight=_in_flight(slots),
        serving=frozenset(one.replica_id for one in _records(shown) if not one.draining),
        waiting=sum(one.count for one in waiting),
        oldest_waiting_seconds=max((now - one.oldest_at for one in waiting), default=0.0),
        last_arrival_at=datetime.fromtimestamp(int(arrived) / 1000, UTC) if arrived else None,
        wake=contract.WAKE.encode() in fields,
        asleep=contract.ASLEEP.encode() in fields,
    )


def _in_flight(slots: Mapping[bytes, Any]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name, count in slots.items():
        replica_id = name.decode().split(" ")[0]
        counts[replica_id] = counts.get(replica_id, 0) + int(count)
    return counts


def _waiting(fields: Fields, alive: set[str]) -> Iterable[contract.Waiting]:
    for name, text in fields.items():
        word = name.decode()
        if word.startswith(contract.WAITING) and word.removeprefix(contract.WAITING) in alive:
            yield contract.Waiting.from_json(text)


def _records(shown: Fields) -> Iterable[contract.ReplicaRecord]:
    return (contract.ReplicaRecord.from_json(text) for text in shown.values())
