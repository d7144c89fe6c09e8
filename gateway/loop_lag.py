"""Measures by how much the event loop is late: the time that callbacks block it."""

from __future__ import annotations

import asyncio

from gateway import metrics

SAMPLE_SECONDS = 0.02


class LoopLagSampler:
    """Samples the running loop from `start` to `stop`. `max_seconds` is the largest lag so far."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due_at = 0.0
        self.max_seconds = 0.0

    def start(self) -> None:
        self._due_at = self._loop.time() + SAMPLE_SECONDS
        self._timer = self._loop.call_at(self._due_at, self._sample)

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _sample(self) -> None:
        lag = max(self._loop.time() - self._due_at, 0.0)
        self.max_seconds = max(self.max_seconds, lag)
        metrics.record_loop_lag(lag)
        self.start()
