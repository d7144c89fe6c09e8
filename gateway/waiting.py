"""Requests that wait for a slot: one line per deployment, first come first served, bounded in count and age.

Only the head of a line asks Redis. It asks again when a slot of this gateway is freed, and besides after a short
pause, since slots are also freed by other gateways and replicas become ready.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gateway import openai
from gateway.config import Config
from gateway.limits import NoSlot, Slot
from gateway.openai import Refusal

PAUSES = {NoSlot.FULL: 0.05, NoSlot.NOTHING_READY: 0.2}
Attempt = Callable[[], Awaitable[Slot | NoSlot | Refusal]]


@dataclass
class Line:
    """The waiting requests of one deployment, and why the head got nothing last."""

    turns: deque[asyncio.Event] = field(default_factory=deque)
    reason: NoSlot = NoSlot.FULL


class WaitingRoom:
    """The lines of this process."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lines: dict[str, Line] = {}

    def waiting(self, deployment_id: str) -> int:
        line = self._lines.get(deployment_id)
        return len(line.turns) if line else 0

    def freed(self, deployment_id: str) -> None:
        """A slot of this deployment is free: let the head ask at once."""
        line = self._lines.get(deployment_id)
        if line and line.turns:
            line.turns[0].set()

    async def admit(self, deployment_id: str, attempt: Attempt) -> Slot | Refusal:
        """The result of `attempt` when it is this request's turn and it gives a slot or a refusal; else why the wait
        ended. `attempt` is safe to cancel."""
        line = self._lines.get(deployment_id)
        if line is None:
            outcome = await attempt()
            if not isinstance(outcome, NoSlot):
                return outcome
            line = self._lines.setdefault(deployment_id, Line())
            line.reason = outcome
        if len(line.turns) >= self._config.queue_length:
            return self._refusal(line, "Too many requests wait for this deployment already. Try again shortly.")
        turn = asyncio.Event()
        line.turns.append(turn)
        try:
            return await self._wait(line, turn, attempt)
        finally:
            self._leave(deployment_id, line, turn)

    async def _wait(self, line: Line, turn: asyncio.Event, attempt: Attempt) -> Slot | Refusal:
        started = time.monotonic()
        while (left := self._limit(line) - (time.monotonic() - started)) > 0:
            is_head = line.turns[0] is turn
            pause = min(PAUSES[line.reason], left) if is_head else min(1.0, left)
            try:
                async with asyncio.timeout(pause):
                    await turn.wait()
            except TimeoutError:
                pass
            turn.clear()
            if line.turns[0] is not turn:
                continue
            outcome = await attempt()
            if not isinstance(outcome, NoSlot):
                return outcome
            line.reason = outcome
        return self._refusal(line, "All slots of this deployment stayed taken. Try again shortly.")

    def _limit(self, line: Line) -> float:
        is_cold = line.reason is NoSlot.NOTHING_READY
        return self._config.cold_start_seconds if is_cold else self._config.queue_seconds

    def _refusal(self, line: Line, message: str) -> Refusal:
        if line.reason is NoSlot.NOTHING_READY:
            return openai.cold_start_timeout(30)
        return openai.overloaded(message, 5)

    def _leave(self, deployment_id: str, line: Line, turn: asyncio.Event) -> None:
        line.turns.remove(turn)
        if line.turns:
            line.turns[0].set()
        elif self._lines.get(deployment_id) is line:
            del self._lines[deployment_id]
