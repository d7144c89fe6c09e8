"""Tells the gateways which keys may be used: `mc:keys`, and the generation that they poll (gateway/contract.py)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import redis
from django.utils import timezone

from accounts.connections import redis_client
from accounts.models import ApiKey
from accounts.queries import usable_keys, usable_scopes
from gateway import contract


def record_of(key: ApiKey) -> contract.KeyRecord:
    """What the gateway needs of a key; its scopes are cut by what its user's role allows now."""
    return contract.KeyRecord(
        key_id=str(key.id),
        organization_id=str(key.organization_id),
        organization_slug=key.organization.slug,
        user_id=str(key.user_id),
        scopes=usable_scopes(key),
        deployments=None if key.deployments is None else [str(one) for one in key.deployments],
        expires_at=key.expires_at.timestamp() if key.expires_at else None,
    )


def publish_keys(now: datetime) -> None:
    """Replace the whole hash by the keys usable now.

    A key that is withdrawn while the rows are read raises the generation, which makes the exchange fail and start
    again: an old listing can never bring a revoked key back.
    """
    client = redis_client()
    while True:
        with client.pipeline(transaction=True) as pipeline:
            pipeline.watch(contract.GENERATION)  # type: ignore[no-untyped-call]
            records: dict[Any, Any] = {key.key_hash: record_of(key).to_json() for key in usable_keys(now)}
            pipeline.multi()
            pipeline.delete(contract.KEYS)
            if records:
                pipeline.hset(contract.KEYS, mapping=records)
            pipeline.incr(contract.GENERATION)
            try:
                pipeline.execute()
            except redis.WatchError:
                continue
            return


def publish_all() -> None:
    """Publication after a change of people: what they may use follows from the database as it is now."""
    publish_keys(timezone.now())  # noqa: TID251 - runs after a commit, at the edge


def publish_key(key: ApiKey) -> None:
    """Make one new key usable."""
    pipeline = redis_client().pipeline(transaction=True)
    pipeline.hset(contract.KEYS, key.key_hash, record_of(key).to_json())
    pipeline.incr(contract.GENERATION)
    pipeline.execute()


def withdraw_key(key: ApiKey) -> None:
    """End the use of one key."""
    pipeline = redis_client().pipeline(transaction=True)
    pipeline.hdel(contract.KEYS, key.key_hash)
    pipeline.incr(contract.GENERATION)
    pipeline.execute()
