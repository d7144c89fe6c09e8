"""Cache of the published API keys and routes: an immutable snapshot, replaced when the published generation changes.

A missing generation or an unavailable Redis keeps the last snapshot. After Redis restarted without its data, keys or
routes that are not published again yet are kept for at most two publication intervals.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from gateway import contract
from gateway.contract import KeyRecord, RouteRecord
from gateway.store.client import StoreClient, StoreError

log = logging.getLogger(__name__)
Record = TypeVar("Record", KeyRecord, RouteRecord)
KEEP_SECONDS = 2 * contract.PUBLISH_SECONDS


@dataclass(frozen=True)
class PublishedState:
    """The content of Redis: `generation` (None if missing), `keys` by key hash, `routes` by deployment id, as JSON."""

    generation: int | None
    keys: Mapping[str, str]
    routes: Mapping[str, str]


@dataclass(frozen=True)
class Snapshot:
    """`keys` by key hash, `routes` by (organization id, deployment name), `routes_by_id` by deployment id.

    `restarted_at` is when the generation last decreased, on the clock of the caller.
    """

    generation: int
    keys: Mapping[str, KeyRecord]
    routes: Mapping[tuple[str, str], RouteRecord]
    restarted_at: float | None = None
    routes_by_id: Mapping[str, RouteRecord] = field(default_factory=dict)


def build_next_snapshot(previous: Snapshot | None, published: PublishedState, now: float) -> Snapshot | None:
    """Build the snapshot that replaces `previous`; `now` is in seconds on any clock."""
    if published.generation is None:
        return previous
    keys = _parse_records(KeyRecord, published.keys)
    routes = _parse_records(RouteRecord, published.routes)
    restarted_at = previous.restarted_at if previous else None
    if previous and published.generation < previous.generation:
        restarted_at = now
    if previous and restarted_at is not None and now - restarted_at < KEEP_SECONDS:
        keys = keys or dict(previous.keys)
        routes = routes or dict(previous.routes_by_id)
    routes_by_name = {(route.organization_id, route.name): route for route in routes.values()}
    return Snapshot(published.generation, keys, routes_by_name, restarted_at, routes)


def _parse_records(kind: type[Record], texts: Mapping[str, str]) -> dict[str, Record]:
    """Parse the valid records; invalid ones are logged and skipped."""
    records = {}
    for name, text in texts.items():
        try:
            records[name] = kind.from_json(text)
        except (TypeError, ValueError, json.JSONDecodeError) as error:
            log.error("An invalid published %s is skipped: %s", kind.__name__, error)
    return records


class KeyAndRouteCache:
    """Keeps `snapshot` up to date; it is None until the first load."""

    def __init__(self, client: StoreClient) -> None:
        self._client = client
        self._loaded_at = 0.0
        self._refresh_lock = asyncio.Lock()
        self.snapshot: Snapshot | None = None

    async def refresh(self) -> None:
        """Load if the generation has changed or the last load is older than PUBLISH_SECONDS. Raises StoreError."""
        async with self._refresh_lock:
            generation = await self._client.execute("GET", contract.GENERATION)
            known_generation = self.snapshot.generation if self.snapshot else None
            is_old = time.monotonic() - self._loaded_at >= contract.PUBLISH_SECONDS
            if generation is None or (int(generation) == known_generation and not is_old):
                return
            self.snapshot = build_next_snapshot(self.snapshot, await self._read_published(), time.monotonic())
            self._loaded_at = time.monotonic()

    async def refresh_before_refusal(self) -> bool:
        """Refresh before a key or model is refused as unknown; returns whether the snapshot has changed."""
        previous = self.snapshot
        try:
            await self.refresh()
        except StoreError:
            return False
        return self.snapshot is not previous

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            try:
                await self.refresh()
            except StoreError as error:
                log.debug("The snapshot is kept: %s", error)
            except Exception:  # one invalid value must not stop the polling
                log.exception("The snapshot is kept")
            await asyncio.sleep(contract.SNAPSHOT_POLL_SECONDS)

    async def _read_published(self) -> PublishedState:
        generation = await self._client.execute("GET", contract.GENERATION)
        keys = await self._client.execute("HGETALL", contract.KEYS)
        routes = await self._client.execute("HGETALL", contract.ROUTES)
        return PublishedState(None if generation is None else int(generation), keys, routes)
