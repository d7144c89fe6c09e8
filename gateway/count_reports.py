"""Reports the tokens of open requests to Redis, so that they are metered if this process is killed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from gateway.slots import SlotStore
from gateway.usage_metering import TokenCounts

# Requests a call: counting them and writing them takes a few milliseconds of this process and of Redis.
BATCH_SIZE = 500


GetCounts = Callable[[], tuple[str, TokenCounts] | None]


class CountReports:
    """`list_open_counts` yields a function per request that a replica is answering: it returns the attempt id and the
    tokens so far, or None once the request has ended."""

    def __init__(self, slots: SlotStore, list_open_counts: Callable[[], Iterable[GetCounts]]) -> None:
        self._slots = slots
        self._list_open_counts = list_open_counts
        self._reported: dict[str, TokenCounts] = {}

    def forget(self) -> None:
        """Report everything anew, because Redis has lost what was reported."""
        self._reported.clear()

    async def report(self) -> None:
        """Report the counts that have changed and remove those of requests that have ended. Raises StoreError."""
        open_counts = list(self._list_open_counts())
        still_open: set[str] = set()
        for start in range(0, len(open_counts), BATCH_SIZE):
            batch = open_counts[start : start + BATCH_SIZE]
            counts_by_attempt = dict(counted for get_counts in batch if (counted := get_counts()))
            still_open |= counts_by_attempt.keys()
            changed = {one: counts for one, counts in counts_by_attempt.items() if self._reported.get(one) != counts}
            if changed:
                await self._slots.report_counts(changed)
                self._reported |= changed
            else:
                await asyncio.sleep(0)
        ended = list(self._reported.keys() - still_open)
        for start in range(0, len(ended), BATCH_SIZE):
            await self._slots.remove_counts(ended[start : start + BATCH_SIZE])
            for attempt_id in ended[start : start + BATCH_SIZE]:
                del self._reported[attempt_id]
