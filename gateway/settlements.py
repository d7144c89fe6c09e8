"""Settles every admitted request exactly once: in Redis, or in the local spool until Redis is available again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from redis import RedisError

from gateway.contract import Admitted, UsageEvent
from gateway.settlement_spool import Settlement, SettlementSpool, take_over
from gateway.slots import SlotStore

log = logging.getLogger(__name__)
REDIS_ERRORS = (RedisError, OSError, TimeoutError)


class Settlements:
    """`open_requests` maps request id → record of the requests that this process has admitted and not settled."""

    def __init__(self, slots: SlotStore, spool: SettlementSpool) -> None:
        self._slots = slots
        self._spool = spool
        self._tasks: set[asyncio.Task[None]] = set()
        self.open_requests: dict[str, Admitted] = {}
        self._unacknowledged_ids: set[str] = set()

    @property
    def has_spooled(self) -> bool:
        return len(self._spool) > 0

    def add_open_request(self, admitted: Admitted) -> None:
        self.open_requests[admitted.request_id] = admitted

    def settle_in_background(
        self, admitted: Admitted, event: UsageEvent | None, on_settled: Callable[[], None] = lambda: None
    ) -> None:
        """Settle in a task of its own, so that neither a cancelled request nor a slow Redis can lose the settlement;
        call `on_settled` afterwards."""
        task = asyncio.create_task(self.settle(admitted, event))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: on_settled())

    async def settle(self, admitted: Admitted, event: UsageEvent | None) -> None:
        """Release the slot and append `event` (None: the attempt is not metered); spool both if Redis fails."""
        try:
            await self._slots.settle(admitted, event)
        except REDIS_ERRORS as error:
            log.warning("Redis is unavailable, the settlement is spooled: %s", error)
            try:
                self._spool.append(Settlement(admitted, event))
            except OSError as spool_error:
                log.error("The spool cannot be written, settlements are kept in memory only: %s", spool_error)
        else:
            self.open_requests.pop(admitted.request_id, None)

    async def replay_spool(self) -> None:
        """Settle the spooled settlements in order, then those of gateways that have ended. Raises REDIS_ERRORS, keeping
        what is left."""
        replayed = 0
        try:
            for settlement in self._spool.list_pending():
                await self._slots.settle(settlement.admitted, settlement.event)
                self.open_requests.pop(settlement.admitted.request_id, None)
                replayed += 1
        finally:
            self._spool.remove_first(replayed)
        for path in self._spool.list_other_files():
            with take_over(path) as settlements:
                for settlement in settlements:
                    await self._slots.settle(settlement.admitted, settlement.event)

    async def restore_open_requests(self) -> None:
        """Record every open request again after Redis lost this gateway."""
        for admitted in list(self.open_requests.values()):
            await self._slots.restore(admitted)
            if admitted.request_id not in self.open_requests:  # settled while it was being restored
                await self._slots.settle(admitted, None)

    async def release_unacknowledged_slots(self) -> None:
        """Release slots that Redis granted but whose response was lost.

        A slot is released when two consecutive calls find it; one that is found once may be an admission in progress.
        """
        unknown_ids = await self._slots.list_open_request_ids() - self.open_requests.keys()
        for request_id in unknown_ids & self._unacknowledged_ids:
            admitted = await self._slots.get_open_request(request_id)
            if admitted and request_id not in self.open_requests:
                await self._slots.settle(admitted, None)
        self._unacknowledged_ids = unknown_ids

    async def wait_for_pending(self) -> None:
        """Wait until every settlement in the background is settled or spooled."""
        while self._tasks:
            await asyncio.gather(*self._tasks)
