"""Settles every admitted request exactly once: in Redis, or in the local spool until Redis is available again."""

from __future__ import annotations

import asyncio
import logging

from gateway.contract import Admitted, UsageEvent
from gateway.settlement_spool import Settlement, SettlementSpool, take_over
from gateway.slots import SlotStore
from gateway.store.client import StoreError

log = logging.getLogger(__name__)


class Settlements:
    """`open_requests` maps attempt id → record of the attempts that this process has admitted and not settled;
    `reservations` are the ids of the requests that hold a reservation."""

    def __init__(self, slots: SlotStore, spool: SettlementSpool) -> None:
        self._slots = slots
        self._spool = spool
        self._pending = 0
        self._settled = asyncio.Event()
        self.open_requests: dict[str, Admitted] = {}
        self.reservations: set[str] = set()
        self._unacknowledged: set[str] = set()
        self._unknown_reservations: set[str] = set()

    @property
    def has_spooled(self) -> bool:
        return len(self._spool) > 0

    def add_open_request(self, admitted: Admitted) -> None:
        self.open_requests[admitted.attempt_id] = admitted

    def settle(self, admitted: Admitted, event: UsageEvent | None) -> None:
        """Release the slot and append `event` (None: the attempt is not metered); spool both if Redis fails.

        Returns at once, and nothing can cancel it.
        """
        self._pending += 1
        self._slots.settle(admitted, event, lambda error: self._handle_settled(admitted, event, error))

    def give_back(self, request_id: str) -> None:
        """Remove the reservation of a request that has ended without a slot.

        Returns at once. If Redis fails, `release_unacknowledged` does it later.
        """
        self._pending += 1
        self.reservations.discard(request_id)

        def handle(error: StoreError | None) -> None:
            self._pending -= 1
            self._settled.set()

        self._slots.give_back(request_id, handle)

    def _handle_settled(self, admitted: Admitted, event: UsageEvent | None, error: StoreError | None) -> None:
        self._pending -= 1
        self._settled.set()
        if error is None:
            self._forget(admitted, event)
            return
        log.warning("Redis is unavailable, the settlement is spooled: %s", error)
        self._spool.append(Settlement(admitted, event))

    async def replay_spool(self) -> None:
        """Settle the spooled settlements in order, then those of gateways that have ended. Raises StoreError, keeping
        what is left."""
        replayed = 0
        try:
            for settlement in self._spool.list_pending():
                await self._slots.wait_for_settle(settlement.admitted, settlement.event)
                self._forget(settlement.admitted, settlement.event)
                replayed += 1
        finally:
            self._spool.remove_first(replayed)
        await self._spool.flush()
        for path in self._spool.list_other_files():
            try:
                async with take_over(path) as settlements:
                    for settlement in settlements:
                        await self._slots.wait_for_settle(settlement.admitted, settlement.event)
            except OSError as error:
                log.error("The spool file %s of a gateway that has ended cannot be taken over: %s", path, error)

    async def restore_open_requests(self) -> None:
        """Record every open request again after Redis lost this gateway."""
        for admitted in list(self.open_requests.values()):
            await self._slots.restore(admitted)
            if admitted.attempt_id not in self.open_requests:  # settled while it was being restored
                await self._slots.wait_for_settle(admitted, None)

    def _forget(self, admitted: Admitted, event: UsageEvent | None) -> None:
        self.open_requests.pop(admitted.attempt_id, None)
        if event:
            self.reservations.discard(admitted.request_id)

    async def release_unacknowledged(self) -> None:
        """Release slots and reservations that Redis granted but whose response was lost.

        One is released when two consecutive calls find it; one that is found once may be an admission in progress.
        """
        found = await self._slots.list_reservations() - self.reservations
        for request_id in found & self._unknown_reservations:
            self.give_back(request_id)
        self._unknown_reservations = found
        unknown = await self._slots.list_open_attempts() - self.open_requests.keys()
        for attempt_id in unknown & self._unacknowledged:
            admitted = await self._slots.get_open_request(attempt_id)
            if admitted and attempt_id not in self.open_requests:
                await self._slots.wait_for_settle(admitted, None)
        self._unacknowledged = unknown

    def close(self) -> None:
        """Log the settlements that are lost with this process."""
        self._spool.close()

    async def wait_for_pending(self) -> None:
        """Wait until every settlement is acknowledged or spooled, as far as the spool can be written."""
        while self._pending:
            self._settled.clear()
            await self._settled.wait()
        await self._spool.flush()
