"""Follows what the console publishes: the stream `mc:changes`, on a connection of its own that waits for entries.

Routes are read once in bounded batches, then one by one as they change; keys are read by the key cache when they are
used. If entries were missed (Redis lost its data, or the stream was trimmed) everything is read anew. Routes that Redis
has lost and that are not published again yet are kept for at most KEEP_SECONDS.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from gateway import contract
from gateway.key_cache import KEEP_SECONDS, KeyCache
from gateway.route_table import RouteTable
from gateway.store.client import StoreClient, StoreError

log = logging.getLogger(__name__)
BATCH_SIZE = 500
BLOCK_MILLISECONDS = 500
RETRY_SECONDS = 0.25
STALE_SECONDS = 1.0  # after which a remembered key could be one that was revoked
START = "0-0"

Entries = list[tuple[str, list[str]]]


class PublishedChanges:
    """Keeps `routes` current and `keys` free of what has changed. `snapshot` is None until the first complete reading.

    `on_deployment` is called with the id of each deployment that has changed.
    """

    def __init__(
        self,
        client: StoreClient,
        reader: StoreClient,
        keys: KeyCache,
        on_deployment: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        """`reader` is the connection that waits for entries; everything else goes through `client`."""
        self._client = client
        self._reader = reader
        self._on_deployment = on_deployment
        self._clock = clock
        self._epoch: str | None = None
        self._incomplete_since: float | None = None
        self.position = ""
        self.keys = keys
        self.snapshot: RouteTable | None = None

    async def run(self) -> None:
        """Follow until cancelled."""
        followed_at = self._clock()
        while True:
            try:
                await self.follow()
                followed_at = self._clock()
            except StoreError as error:
                log.debug("Changes cannot be read: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:  # one invalid entry must not stop the reading
                log.exception("Changes cannot be read; all are read anew")
                self.position = ""
                await asyncio.sleep(RETRY_SECONDS)
            if self._client.is_connected and self._clock() - followed_at > STALE_SECONDS:
                log.warning("Changes of keys have not been read for a while; keys are looked up anew.")
                self.keys.forget_all()

    async def follow(self, milliseconds: int = BLOCK_MILLISECONDS) -> None:
        """Wait for changes and apply them, or read everything anew if some were missed. Raises StoreError."""
        if not self.position or self._incomplete_since is not None:
            await self._reload_from(self.position)
        position = self.position
        epoch, anchor, found = await asyncio.gather(
            self._client.execute("GET", contract.EPOCH),
            self._client.execute("XRANGE", contract.CHANGES, position, position),
            self._read_entries(position, milliseconds),
        )
        if epoch != self._epoch or (position != START and not anchor):
            log.warning("Changes of keys and routes were missed; all are read anew.")
            self.keys.forget_all()
            await self.reload()
        elif found:
            await self._apply(found)
            self.position = found[-1][0]

    async def catch_up(self) -> bool:
        """Apply what is announced and not read yet; returns whether that was anything. Raises StoreError."""
        if not self.position:
            return False
        if found := await self._read_entries(self.position, None):
            await self._apply(found)
        return bool(found)

    async def reload(self) -> None:
        """Read all routes. Raises StoreError."""
        last = await self._client.execute("XREVRANGE", contract.CHANGES, "+", "-", "COUNT", 1)
        epoch = await self._client.execute("GET", contract.EPOCH)
        marks = (contract.KEYS_COMPLETE, contract.ROUTES_COMPLETE)
        published = await self._client.execute("HMGET", contract.PUBLISHED, *marks)
        table, cursor = RouteTable(), "0"
        while True:
            cursor, fields = await self._client.execute("HSCAN", contract.ROUTES, cursor, "COUNT", BATCH_SIZE)
            table.update(zip(fields[::2], fields[1::2], strict=True))
            if cursor == "0":
                break
        self._epoch, self.position = epoch, last[0][0] if last else START
        if all(published):
            self._incomplete_since = None
        else:
            now = self._clock()
            if self._incomplete_since is None:
                self._incomplete_since = now
            if self.snapshot is None:
                return
            if now - self._incomplete_since < KEEP_SECONDS:
                for deployment_id, route in self.snapshot.routes_by_id.items():
                    if deployment_id not in table.routes_by_id:
                        table.routes_by_id[deployment_id] = route
                        table.routes.setdefault((route.organization_id, route.name), route)
        previous, self.snapshot = self.snapshot, table
        self._announce(table.routes_by_id.keys() | (previous.routes_by_id.keys() if previous else set()))

    async def _reload_from(self, position: str) -> None:
        """Read all routes, but go on with the entries after `position`: they also tell which keys have changed, which
        no reading of routes does. Raises StoreError."""
        epoch = self._epoch
        await self.reload()
        if position and self._epoch == epoch:
            self.position = position

    async def _read_entries(self, position: str, milliseconds: int | None) -> Entries:
        client, block = (self._client, ()) if milliseconds is None else (self._reader, ("BLOCK", milliseconds))
        reply: dict[str, Any] | None = await client.execute(
            "XREAD", "COUNT", BATCH_SIZE, *block, "STREAMS", contract.CHANGES, position
        )
        return reply[contract.CHANGES] if reply else []

    async def _apply(self, entries: Entries) -> None:
        deployment_ids = []
        for _, (kind, name, *_rest) in entries:
            if kind == contract.KEY_CHANGED:
                self.keys.forget(name)
            else:
                deployment_ids.append(name)
        if deployment_ids:
            texts = await self._client.execute("HMGET", contract.ROUTES, *deployment_ids)
            if self.snapshot:
                self.snapshot.update(zip(deployment_ids, texts, strict=True))
            self._announce(deployment_ids)

    def _announce(self, deployment_ids: Iterable[str]) -> None:
        for deployment_id in deployment_ids:
            self._on_deployment(deployment_id)
