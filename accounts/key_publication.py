"""Publishes usable API keys to the gateways: the hash `mc:keys` and the generation counter that gateways poll.

`gateway/contract.py` documents both keys.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import redis
from django.utils import timezone

from accounts.models import ApiKey
from accounts.queries import get_role, get_usable_scopes, list_usable_keys
from accounts.redis_client import redis_client
from gateway import contract


def build_key_record(key: ApiKey, role: str | None) -> contract.KeyRecord:
    """Build the record that gateways authenticate with; its scopes are limited by `role`, the user's current one."""
    return contract.KeyRecord(
        key_id=str(key.id),
        organization_id=str(key.organization_id),
        organization_slug=key.organization.slug,
        user_id=str(key.user_id),
        scopes=get_usable_scopes(key, role),
        deployments=None if key.deployments is None else [str(deployment_id) for deployment_id in key.deployments],
        expires_at=key.expires_at.timestamp() if key.expires_at else None,
    )


def publish_keys(now: datetime) -> None:
    """Replace the published keys by all keys that are usable at `now`.

    Uses optimistic locking on the generation: a key revoked while the rows are read raises the generation, which makes
    the transaction fail and start again. A stale listing therefore never restores a revoked key.
    """
    client = redis_client()
    while True:
        with client.pipeline(transaction=True) as pipeline:
            pipeline.watch(contract.GENERATION)  # type: ignore[no-untyped-call]
            records: dict[Any, Any] = {
                key.key_hash: build_key_record(key, key.role).to_json() for key in list_usable_keys(now)
            }
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


def republish_all_keys() -> None:
    """Publish all keys after a change of users or memberships; to be called on commit."""
    publish_keys(timezone.now())  # noqa: TID251 - runs after a commit, at the edge


def publish_key(key: ApiKey) -> None:
    pipeline = redis_client().pipeline(transaction=True)
    pipeline.hset(contract.KEYS, key.key_hash, build_key_record(key, get_role(key)).to_json())
    pipeline.incr(contract.GENERATION)
    pipeline.execute()


def withdraw_key(key: ApiKey) -> None:
    pipeline = redis_client().pipeline(transaction=True)
    pipeline.hdel(contract.KEYS, key.key_hash)
    pipeline.incr(contract.GENERATION)
    pipeline.execute()
