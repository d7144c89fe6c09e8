"""The heartbeat of a gateway process and the recovery work that runs with it.

Each beat registers this gateway as alive, restores its open requests if Redis lost them, reports their tokens, reaps
dead gateways, releases unacknowledged slots and replays spooled settlements.
"""

from __future__ import annotations

import asyncio
import logging

from gateway.contract import HEARTBEAT_SECONDS
from gateway.count_reports import CountReports
from gateway.settlements import Settlements
from gateway.slots import SlotStore
from gateway.store.client import StoreError

log = logging.getLogger(__name__)
RETRY_SECONDS = 1.0


class Heartbeat:
    def __init__(self, slots: SlotStore, settlements: Settlements, count_reports: CountReports) -> None:
        self._slots = slots
        self._settlements = settlements
        self._count_reports = count_reports
        self._has_beaten = False

    async def beat(self) -> None:
        """Run one heartbeat. Raises StoreError when Redis is unavailable."""
        is_new, dead_gateway_ids = await self._slots.heartbeat()
        if is_new:
            self._count_reports.forget()
            await self._settlements.restore_open_requests()
        await self._count_reports.report()
        for gateway_id in dead_gateway_ids:
            log.warning("Gateway %s is dead; its open requests are settled as interrupted.", gateway_id)
            await self._slots.reap(gateway_id)
        await self._settlements.release_unacknowledged()
        await self._settlements.replay_spool()
        self._has_beaten = True

    async def run(self) -> None:
        """Beat every HEARTBEAT_SECONDS until cancelled, every RETRY_SECONDS after an error or while the spool is not
        empty. The first beat may be the caller's."""
        if self._has_beaten:
            await asyncio.sleep(HEARTBEAT_SECONDS)
        while True:
            pause = HEARTBEAT_SECONDS
            try:
                await self.beat()
            except StoreError as error:
                log.warning("Redis is unavailable: %s", error)
                pause = RETRY_SECONDS
            except Exception:  # one invalid record must not stop the heartbeat
                log.exception("A heartbeat failed")
            await asyncio.sleep(RETRY_SECONDS if self._settlements.has_spooled else pause)
