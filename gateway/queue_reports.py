"""Reports the queued requests of this process to the console, and sends wakeups to reconcile their deployments.

While a deployment has a queue, one task follows it. The task writes the number of queued requests to Redis at each
change, at most ten times a second, and again with every heartbeat interval. It sends a wakeup when the queue forms and
every two seconds while it exists. A lost report or wakeup costs latency only.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

from gateway.contract import HEARTBEAT_SECONDS
from gateway.request_queue import RequestQueues
from gateway.slots import SlotStore
from gateway.store.client import StoreError

log = logging.getLogger(__name__)
POLL_SECONDS = 0.1
WAKEUP_SECONDS = 2.0
RETRY_SECONDS = 1.0


@dataclass
class LastReport:
    """What was last reported about one deployment, and when (monotonic clock)."""

    count: int = 0
    counted_at: float = float("-inf")
    woken_at: float = float("-inf")

    def is_count_due(self, count: int, now: float) -> bool:
        return count != self.count or (count > 0 and now - self.counted_at >= HEARTBEAT_SECONDS)

    def is_wakeup_due(self, count: int, now: float) -> bool:
        return count > 0 and now - self.woken_at >= WAKEUP_SECONDS

    def is_finished(self, now: float) -> bool:
        return self.count == 0 and now - self.woken_at >= WAKEUP_SECONDS


class QueueReporter:
    def __init__(self, slots: SlotStore, queues: RequestQueues) -> None:
        self._slots = slots
        self._queues = queues
        self._tasks: dict[str, asyncio.Task[None]] = {}
        queues.on_join = self._start_following

    async def stop(self) -> None:
        """End all tasks and remove the reports of this gateway. Raises StoreError."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._slots.clear_waiting_reports()

    def _start_following(self, deployment_id: str) -> None:
        if deployment_id not in self._tasks:
            self._tasks[deployment_id] = asyncio.create_task(self._follow(deployment_id))

    async def _follow(self, deployment_id: str) -> None:
        """Report until the queue is gone and this is reported.

        The task outlives the last wakeup by WAKEUP_SECONDS, which limits the rate of wakeups if the queue forms again.
        """
        last = LastReport()
        try:
            while True:
                is_reported = await self._report(deployment_id, last)
                if not self._queues.count_waiting(deployment_id) and last.is_finished(time.monotonic()):
                    return
                await asyncio.sleep(POLL_SECONDS if is_reported else RETRY_SECONDS)
        finally:
            del self._tasks[deployment_id]

    async def _report(self, deployment_id: str, last: LastReport) -> bool:
        """Send what is due; returns False if Redis is unavailable."""
        now, count = time.monotonic(), self._queues.count_waiting(deployment_id)
        try:
            if last.is_count_due(count, now):
                oldest_seconds = self._queues.get_oldest_wait_seconds(deployment_id)
                await self._slots.report_waiting(deployment_id, count, oldest_seconds)
                last.count, last.counted_at = count, now
            if last.is_wakeup_due(count, now):
                self._slots.send_wakeup(deployment_id)
                last.woken_at = now
        except StoreError as error:
            log.debug("The queued requests could not be reported: %s", error)
            return False
        return True
