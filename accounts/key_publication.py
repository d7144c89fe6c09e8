"""Publishes usable API keys to the gateways: the hash `mc:keys`, and the stream `mc:changes` that gateways follow.

A publication compares a bounded number of keys with their rows and writes only the differences. It reads the rows under
a lock per key that it holds until Redis has them, so rows that were read before a revocation never restore the key.
`gateway/contract.py` documents the Redis keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts.models import ApiKey, Organization, User
from accounts.publication_lock import lock_published
from accounts.publication_mark import mark_complete
from accounts.queries import get_usable_scopes, list_usable_keys
from accounts.redis_client import redis_client
from gateway import contract

BATCH_SIZE = 500
# How many keys a periodic publication compares besides those that changed of late; the next one continues after them.
MAX_COMPARED = 2000
RECENT = timedelta(minutes=30)
AFTER, CURSOR = "keys after", "keys cursor"


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
        limits=key.organization.limits,
    )


def publish_keys(now: datetime) -> None:
    """Publish keys that were created or revoked of late, and compare further ones; all after Redis lost its data.

    Raises `redis.RedisError`.
    """
    client = redis_client()
    epoch = client.get(contract.EPOCH)
    is_complete = bool(client.hexists(contract.PUBLISHED, contract.KEYS_COMPLETE))
    recent = ApiKey.objects.filter(Q(created_at__gt=now - RECENT) | Q(revoked_at__gt=now - RECENT))
    _publish(list(recent.values_list("key_hash", flat=True)), now)
    _compare_rows(client, now, MAX_COMPARED if is_complete else None)
    _compare_published(client, now, MAX_COMPARED if is_complete else None)
    if not is_complete:
        mark_complete(client, contract.KEYS_COMPLETE, now.isoformat(), epoch)


def publish_key(key: ApiKey) -> None:
    """Publish or withdraw a key as its row says now; to be called on commit."""
    _publish([key.key_hash], timezone.now(), announce_all=True)  # noqa: TID251 - runs after a commit, at the edge


def publish_keys_of(users: Sequence[User]) -> None:
    """Publish the keys of users after a change of them or of their memberships; to be called on commit."""
    hashes = ApiKey.objects.filter(user__in=users).values_list("key_hash", flat=True)
    _publish(list(hashes), timezone.now(), announce_all=True)  # noqa: TID251 - runs after a commit, at the edge


def publish_keys_in(organization: Organization) -> None:
    """Publish the keys of an organization after a change of its limits; to be called on commit."""
    now = timezone.now()  # noqa: TID251 - runs after a commit, at the edge
    hashes = list_usable_keys(now).filter(organization=organization).values_list("key_hash", flat=True)
    _publish(list(hashes), now, announce_all=True)


def withdraw_keys(hashes: Sequence[str]) -> None:
    """Withdraw keys whose rows are deleted; to be called on commit."""
    _publish(hashes, timezone.now(), announce_all=True)  # noqa: TID251 - runs after a commit, at the edge


def _compare_rows(client: Any, now: datetime, limit: int | None) -> None:
    """Compare keys in the order of their hashes, from where the last publication ended; `limit` None: all."""
    after = "" if limit is None else (client.hget(contract.PUBLISHED, AFTER) or b"").decode()
    compared = 0
    while limit is None or compared < limit:
        usable = list_usable_keys(now).filter(key_hash__gt=after).order_by("key_hash")
        hashes = list(usable.values_list("key_hash", flat=True)[:BATCH_SIZE])
        _publish(hashes, now)
        compared += len(hashes)
        after = hashes[-1] if len(hashes) == BATCH_SIZE else ""
        if not after:
            break
    client.hset(contract.PUBLISHED, AFTER, after)


def _compare_published(client: Any, now: datetime, limit: int | None) -> None:
    """Compare what Redis has with the rows, to remove keys that are not usable any more."""
    cursor = 0 if limit is None else int(client.hget(contract.PUBLISHED, CURSOR) or 0)
    compared = 0
    while limit is None or compared < limit:
        cursor, found = client.hscan(contract.KEYS, cursor, count=BATCH_SIZE)
        hashes = [name.decode() for name in found]
        for start in range(0, len(hashes), BATCH_SIZE):
            _publish(hashes[start : start + BATCH_SIZE], now)
        compared += len(hashes)
        if not cursor:
            break
    client.hset(contract.PUBLISHED, CURSOR, cursor)


def _publish(hashes: Sequence[str], now: datetime, *, announce_all: bool = False) -> None:
    """Write what differs between the rows of these keys and Redis, and announce it.

    After a change all of the keys are announced: a Redis that lost its data does not differ from a revoked key, but
    gateways keep what they knew.
    """
    for start in range(0, len(hashes), BATCH_SIZE):
        with transaction.atomic():
            _publish_batch(hashes[start : start + BATCH_SIZE], now, announce_all)


def _publish_batch(hashes: Sequence[str], now: datetime, announce_all: bool) -> None:
    client = redis_client()
    lock_published(hashes)
    usable = {
        key.key_hash: build_key_record(key, key.role).to_json()
        for key in list_usable_keys(now).filter(key_hash__in=hashes)
    }
    values: list[bytes | None] = client.hmget(contract.KEYS, list(hashes))  # type: ignore[assignment]
    current = {name: value.decode() for name, value in zip(hashes, values, strict=True) if value is not None}
    changed = [name for name in hashes if usable.get(name) != current.get(name)]
    announced = hashes if announce_all else changed
    if not announced:
        return
    pipeline = client.pipeline(transaction=True)
    for name in changed:
        if name in usable:
            pipeline.hset(contract.KEYS, name, usable[name])
        else:
            pipeline.hdel(contract.KEYS, name)
    for name in announced:
        pipeline.xadd(contract.CHANGES, {contract.KEY_CHANGED: name}, maxlen=contract.MAX_CHANGES)
    pipeline.execute()
