"""The heartbeat of this gateway, and what it is good for: others see that it lives, it reaps those that do not,
defends its open requests, and replays what was spooled."""

from __future__ import annotations

import asyncio
import logging

from gateway.contract import HEARTBEAT_SECONDS
from gateway.ledger import AWAY, Ledger
from gateway.limits import Limits

log = logging.getLogger(__name__)
RETRY_SECONDS = 1.0


class Presence:
    """One per process."""

    def __init__(self, limits: Limits, ledger: Ledger) -> None:
        self._limits = limits
        self._ledger = ledger

    async def beat(self) -> None:
        """One heartbeat with its duties. Raises what Redis raises."""
        is_new, dead = await self._limits.heartbeat()
        if is_new:
            await self._ledger.defend()
        for gateway_id in dead:
            log.warning("Gateway %s is dead; its open requests are settled as interrupted.", gateway_id)
            await self._limits.reap(gateway_id)
        await self._ledger.release_strays()
        await self._ledger.replay()

    async def run(self) -> None:
        """Beat until cancelled; sooner while there is something to make up for."""
        while True:
            pause = HEARTBEAT_SECONDS
            try:
                await self.beat()
            except AWAY as error:
                log.warning("Redis is away: %s", error)
                pause = RETRY_SECONDS
            except Exception:  # one unreadable record must not end the heartbeat
                log.exception("A heartbeat failed")
            await asyncio.sleep(RETRY_SECONDS if self._ledger.has_spooled else pause)
