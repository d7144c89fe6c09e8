"""Keys and routes as this process knows them: immutable, replaced as a whole when the published generation changes.

A missing generation, or a Redis that cannot be reached, keeps the last snapshot. After a Redis that restarted empty,
a part that is not published yet is kept as well, for at most two publications.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from redis.asyncio import Redis

from gateway import contract
from gateway.contract import KeyRecord, RouteRecord
from gateway.ledger import AWAY

log = logging.getLogger(__name__)
Record = TypeVar("Record", KeyRecord, RouteRecord)
KEEP_SECONDS = 2 * contract.PUBLISH_SECONDS


@dataclass(frozen=True)
class Published:
    """What Redis holds: `generation` None when it is missing."""

    generation: int | None
    keys: Mapping[str, str]
    routes: Mapping[str, str]


@dataclass(frozen=True)
class Snapshot:
    """`keys` by key hash, `routes` by (organization id, name). `restarted_at` is when the generation last fell, in
    the seconds of whatever clock the caller uses."""

    generation: int
    keys: Mapping[str, KeyRecord]
    routes: Mapping[tuple[str, str], RouteRecord]
    restarted_at: float | None = None
    by_id: Mapping[str, RouteRecord] = field(default_factory=dict)


def following(previous: Snapshot | None, published: Published, now: float) -> Snapshot | None:
    """The snapshot after `previous`, given what is published now."""
    if published.generation is None:
        return previous
    keys = _records(KeyRecord, published.keys)
    routes = _records(RouteRecord, published.routes)
    restarted_at = previous.restarted_at if previous else None
    if previous and published.generation < previous.generation:
        restarted_at = now
    if previous and restarted_at is not None and now - restarted_at < KEEP_SECONDS:
        keys = keys or dict(previous.keys)
        routes = routes or dict(previous.by_id)
    by_name = {(route.organization_id, route.name): route for route in routes.values()}
    return Snapshot(published.generation, keys, by_name, restarted_at, routes)


def _records(kind: type[Record], texts: Mapping[str, str]) -> dict[str, Record]:
    """The records that can be read; one that cannot is left out and reported."""
    records = {}
    for name, text in texts.items():
        try:
            records[name] = kind.from_json(text)
        except (TypeError, ValueError, json.JSONDecodeError) as error:
            log.error("A published %s cannot be read and is left out: %s", kind.__name__, error)
    return records


class Follower:
    """Keeps `current` up to date."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._loaded_at = 0.0
        self._one_at_a_time = asyncio.Lock()
        self.current: Snapshot | None = None

    async def refresh(self) -> None:
        """Load if the generation changed or the last load is old. Raises what Redis raises."""
        async with self._one_at_a_time:
            await self._refresh()

    async def catch_up(self) -> bool:
        """Asked before something is refused as unknown: whether more had been published since the last poll."""
        before = self.current
        try:
            await self.refresh()
        except AWAY:
            return False
        return self.current is not before

    async def _refresh(self) -> None:
        text = await self._client.get(contract.GENERATION)
        known = self.current.generation if self.current else None
        is_old = time.monotonic() - self._loaded_at >= contract.PUBLISH_SECONDS
        if text is None or (int(text) == known and not is_old):
            return
        self.current = following(self.current, await self._published(), time.monotonic())
        self._loaded_at = time.monotonic()

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                await self.refresh()
            except AWAY as error:
                log.debug("The snapshot is kept: %s", error)
            except Exception:  # what cannot be read today must not end the following
                log.exception("The snapshot is kept")
            await asyncio.sleep(contract.SNAPSHOT_POLL_SECONDS)

    async def _published(self) -> Published:
        async with self._client.pipeline(transaction=True) as pipeline:
            pipeline.get(contract.GENERATION)
            pipeline.hgetall(contract.KEYS)
            pipeline.hgetall(contract.ROUTES)
            generation, keys, routes = await pipeline.execute()
        return Published(None if generation is None else int(generation), keys, routes)
