"""The gateway put together: its parts, when they start and in which order they end."""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections.abc import Collection
from contextlib import suppress

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.config import Config
from gateway.ledger import AWAY, Ledger
from gateway.limits import Limits
from gateway.presence import Presence
from gateway.proxy import Parts
from gateway.reports import Reports
from gateway.snapshot import Follower
from gateway.spool import Spool
from gateway.upstream import Upstream
from gateway.waiting import WaitingRoom

log = logging.getLogger(__name__)
REDIS_CONNECTIONS = 100
REDIS_SECONDS = 2.0
CANCEL_SECONDS = 0.5


class Gateway:
    """One process. `start` inside the running loop; `drain` at a stop signal; `stop` last."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.gateway_id = f"{os.uname().nodename[:24]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.is_draining = False
        self.parts: Parts | None = None
        self.presence: Presence | None = None
        self.reports: Reports | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_ready(self) -> bool:
        """Whether new requests are wanted: keys and routes are known, and no stop was asked."""
        return not self.is_draining and self.parts is not None and self.parts.follower.current is not None

    async def start(self) -> None:
        """Connect and begin the background work; a Redis that is away is waited for in the background."""
        client = _client(self.config.redis_url)
        limits = Limits(client, self.gateway_id)
        ledger = Ledger(limits, Spool(self.config.spool_dir, self.gateway_id))
        follower = Follower(client)
        presence = self.presence = Presence(limits, ledger)
        room = WaitingRoom(self.config)
        self.reports = Reports(limits, room)
        self.parts = Parts(
            limits=limits,
            ledger=ledger,
            follower=follower,
            waiting=room,
            upstream=Upstream(self.config),
            stopping=asyncio.get_running_loop().create_future(),
        )
        with suppress(*AWAY):
            await presence.beat()
            await follower.refresh()
        self._tasks = [asyncio.create_task(presence.run()), asyncio.create_task(follower.run())]

    def drain(self) -> None:
        """Not ready from now on; what is open may go on for the drain limit. A second call ends it at once."""
        if self.parts is None or self.parts.stopping.done():
            return
        loop = asyncio.get_running_loop()
        loop.call_later(0 if self.is_draining else self.config.drain_seconds, self._cut)
        self.is_draining = True

    def _cut(self) -> None:
        if self.parts and not self.parts.stopping.done():
            self.parts.stopping.set_result(None)

    async def stop(self) -> None:
        """Settle or spool what has ended, and leave the list of gateways if nothing stays open."""
        if self.parts is None or self.reports is None:
            return
        await self.parts.ledger.finish()
        await _cancelled(self._tasks)
        with suppress(*AWAY):
            await self.reports.finish()
            await self.parts.ledger.replay()
            if not self.parts.ledger.open:
                await self.parts.limits.leave()
        await self.parts.upstream.close()
        await self.parts.limits.client.aclose()


async def _cancelled(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel until they have ended: a cancellation that meets a time-out inside the Redis client may be lost there."""
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=CANCEL_SECONDS)


def _client(url: str) -> Redis:
    """No retries inside the client: an `admit` that is repeated blindly would take two slots."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=REDIS_CONNECTIONS,
        timeout=REDIS_SECONDS,
        socket_timeout=REDIS_SECONDS,
        socket_connect_timeout=REDIS_SECONDS,
        decode_responses=True,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis(connection_pool=pool)
