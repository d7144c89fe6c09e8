"""Every admitted request ends here exactly once: settled in Redis, or spooled until Redis takes it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from redis import RedisError

from gateway.contract import Admitted, UsageEvent
from gateway.limits import Limits
from gateway.spool import Settlement, Spool, taken_over

log = logging.getLogger(__name__)
AWAY = (RedisError, OSError, TimeoutError)


class Ledger:
    """Knows the open requests of this process, for the heartbeat to defend."""

    def __init__(self, limits: Limits, spool: Spool) -> None:
        self._limits = limits
        self._spool = spool
        self._tasks: set[asyncio.Task[None]] = set()
        self.open: dict[str, Admitted] = {}
        self._strays: set[str] = set()

    def note(self, admitted: Admitted) -> None:
        self.open[admitted.request_id] = admitted

    def settle_soon(
        self, admitted: Admitted, event: UsageEvent | None, freed: Callable[[], None] = lambda: None
    ) -> None:
        """Settle in the background, then call `freed`: neither a cancelled request nor a slow Redis may lose it."""
        task = asyncio.create_task(self.settle(admitted, event))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: freed())

    async def settle(self, admitted: Admitted, event: UsageEvent | None) -> None:
        try:
            await self._limits.settle(admitted, event)
        except AWAY as error:
            log.warning("Redis did not take a settlement, which is spooled: %s", error)
            self._keep(Settlement(admitted, event))
        else:
            self.open.pop(admitted.request_id, None)

    def _keep(self, settlement: Settlement) -> None:
        try:
            self._spool.append(settlement)
        except OSError as error:
            log.error("The spool cannot be written, settlements are kept in memory only: %s", error)

    async def replay(self) -> None:
        """Hand the spooled settlements to Redis in order. Raises what Redis raises, keeping the rest."""
        done = 0
        try:
            for settlement in self._spool.waiting():
                await self._limits.settle(settlement.admitted, settlement.event)
                self.open.pop(settlement.admitted.request_id, None)
                done += 1
        finally:
            self._spool.done(done)
        for path in self._spool.abandoned():
            with taken_over(path) as settlements:
                for settlement in settlements:
                    await self._limits.settle(settlement.admitted, settlement.event)

    async def defend(self) -> None:
        """Note every open request again after Redis forgot this gateway."""
        for admitted in list(self.open.values()):
            await self._limits.restore(admitted)
            if admitted.request_id not in self.open:
                await self._limits.settle(admitted, None)

    async def release_strays(self) -> None:
        """Free what Redis noted for this gateway while its answer got lost; seen twice, so it is no request that is
        being admitted right now."""
        unknown = await self._limits.noted() - self.open.keys()
        for request_id in unknown & self._strays:
            admitted = await self._limits.note_of(request_id)
            if admitted and request_id not in self.open:
                await self._limits.settle(admitted, None)
        self._strays = unknown

    async def finish(self) -> None:
        """Wait until everything that ended is settled or spooled."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    @property
    def has_spooled(self) -> bool:
        return len(self._spool) > 0
