"""Tells the console how many requests this process holds, and asks it to look.

While a deployment has a line, one task follows it: the count goes to Redis at each change, at most ten times a second,
and again with every heartbeat; a hint follows when the line forms, and every two seconds while it stays. Losing any of
them costs time only.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

from gateway.contract import HEARTBEAT_SECONDS
from gateway.ledger import AWAY
from gateway.limits import Limits
from gateway.waiting import WaitingRoom

log = logging.getLogger(__name__)
LOOK_SECONDS = 0.1
HINT_SECONDS = 2.0
AWAY_SECONDS = 1.0


@dataclass
class Told:
    """What the console was told last of one deployment, and when (on the monotonic clock)."""

    count: int = 0
    counted_at: float = float("-inf")
    hinted_at: float = float("-inf")

    def is_news(self, count: int, now: float) -> bool:
        return count != self.count or (count > 0 and now - self.counted_at >= HEARTBEAT_SECONDS)

    def is_over(self, now: float) -> bool:
        return self.count == 0 and now - self.hinted_at >= HINT_SECONDS

    def wants_hint(self, count: int, now: float) -> bool:
        return count > 0 and now - self.hinted_at >= HINT_SECONDS


class Reports:
    """One per process; `finish` last."""

    def __init__(self, limits: Limits, room: WaitingRoom) -> None:
        self._limits = limits
        self._room = room
        self._following: dict[str, asyncio.Task[None]] = {}
        room.changed = self._joined

    def _joined(self, deployment_id: str) -> None:
        if deployment_id not in self._following:
            self._following[deployment_id] = asyncio.create_task(self._follow(deployment_id))

    async def _follow(self, deployment_id: str) -> None:
        """Until the line is gone, Redis knows it, and the last hint is old: the next line may hint at once."""
        told = Told()
        try:
            while True:
                could = await self._tell(deployment_id, told)
                if not self._room.waiting(deployment_id) and told.is_over(time.monotonic()):
                    return
                await asyncio.sleep(LOOK_SECONDS if could else AWAY_SECONDS)
        finally:
            del self._following[deployment_id]

    async def _tell(self, deployment_id: str, told: Told) -> bool:
        """Whether Redis could be told."""
        now, count = time.monotonic(), self._room.waiting(deployment_id)
        try:
            if told.is_news(count, now):
                await self._limits.report(deployment_id, count, self._room.oldest_seconds(deployment_id))
                told.count, told.counted_at = count, now
            if told.wants_hint(count, now):
                await self._limits.hint(deployment_id)
                told.hinted_at = now
        except AWAY as error:
            log.debug("The console could not be told who waits: %s", error)
            return False
        return True

    async def finish(self) -> None:
        """Nobody waits here any more. Raises what Redis raises."""
        tasks = list(self._following.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._limits.hold_nothing()
