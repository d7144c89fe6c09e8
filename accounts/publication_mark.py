"""Marks that all keys or routes are published, which gateways trust: what is absent then does not exist."""

from __future__ import annotations

import logging
from typing import Any

import redis

from gateway import contract

log = logging.getLogger(__name__)


def mark_complete(client: Any, name: str, value: str, epoch: bytes | str | None) -> None:
    """Set the mark `name` if the epoch is still the one from before the publication, else leave it to the next one.

    If it has changed, Redis has lost its data, or was new, and may lack part of what was published. Raises
    `redis.RedisError`.
    """
    with client.pipeline(transaction=True) as pipeline:
        pipeline.watch(contract.EPOCH)
        if pipeline.get(contract.EPOCH) == epoch:
            pipeline.multi()
            pipeline.hset(contract.PUBLISHED, name, value)
            try:
                pipeline.execute()
                return
            except redis.WatchError:
                pass
    log.warning("The epoch of Redis changed while all %s were published; the next publication starts again", name)
