"""Puts a deployment to sleep in one atomic step in Redis, so that no request is admitted in between (sleep.lua)."""

from __future__ import annotations

import logging
from pathlib import Path
from uuid import UUID

import redis

from accounts.redis_client import redis_client
from gateway import contract

log = logging.getLogger(__name__)
SCRIPT = Path(__file__).with_name("sleep.lua").read_text()


def fall_asleep(deployment_id: UUID, epoch: str, idle_seconds: float) -> str:
    """Set `asleep` unless a request is in flight or waiting, or arrived within `idle_seconds`.

    Returns "asleep", or why not: "busy", "recent" or "unknown" (no gateway is alive, Redis is unavailable or restarted
    since `epoch`).
    """
    key = str(deployment_id)
    try:
        answer = redis_client().eval(
            SCRIPT,
            4,
            contract.load_key(key),
            contract.slots_key(key),
            contract.GATEWAYS,
            contract.EPOCH,
            epoch,
            round(idle_seconds * 1000),
            contract.GATEWAY_DEAD_SECONDS,
        )
    except redis.RedisError as error:
        log.warning("Deployment %s stays awake, Redis is unavailable: %s", key, error)
        return "unknown"
    return answer.decode() if isinstance(answer, bytes) else str(answer)
