"""Requests that wait for a slot: one line per deployment, first come first served, bounded in count, bytes and age.

Only the head of a line asks Redis. It asks again when a slot of this gateway is freed, and besides after a short
pause, since slots are also freed by other gateways and replicas become ready. Waiting for a replica to start and
waiting for a slot are two clocks with a limit each: a long start takes nothing from the time that a line may take.
"""

from __future__ import annotations

import asyncio
import bisect
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gateway import openai
from gateway.config import Config
from gateway.limits import NoSlot, Slot
from gateway.openai import Refusal

PAUSES = {NoSlot.FULL: 0.05, NoSlot.UNREACHED: 0.1, NoSlot.NOTHING_READY: 0.2, NoSlot.ASLEEP: 0.2}
Seconds = dict[bool, float]  # is cold → seconds


@dataclass(eq=False)
class Turn:
    """One request's place, kept when it has to wait again. `attempt` is safe to cancel; `held` is told between attempts
    what the request waits for, and answers after how many seconds it wants to be told again. `size` in bytes;
    `cold_seconds` is the most that this request waits for a start; `was_let_in` once it had a place or a slot."""

    deployment_id: str
    size: int
    cold_seconds: float
    attempt: Callable[[], Awaitable[Slot | NoSlot | Refusal]]
    held: Callable[[NoSlot], Awaitable[float]]
    arrived: float = field(default_factory=time.monotonic)
    spent: Seconds = field(default_factory=lambda: {True: 0.0, False: 0.0})
    was_let_in: bool = False
    called: asyncio.Event = field(default_factory=asyncio.Event)

    async def pause(self, seconds: float) -> None:
        """Until called, but not longer than that."""
        try:
            async with asyncio.timeout(seconds):
                await self.called.wait()
        except TimeoutError:
            pass
        self.called.clear()


class Line:
    """The waiting requests of one deployment in the order in which they arrived, and why the head got nothing last."""

    def __init__(self, reason: NoSlot) -> None:
        self.turns: list[Turn] = []
        self.reason = reason
        self._spent: Seconds = {True: 0.0, False: 0.0}
        self._since = time.monotonic()

    def turned_away(self, reason: NoSlot) -> None:
        """The head got nothing. Everyone looks at the time again when the clock changes."""
        changes = reason.is_cold is not self.reason.is_cold
        if changes:
            self._spent = self.spent()
            self._since = time.monotonic()
        self.reason = reason
        for turn in self.turns if changes else ():
            turn.called.set()

    def spent(self) -> Seconds:
        """Seconds that this line has waited, by what for."""
        now, is_cold = time.monotonic() - self._since, self.reason.is_cold
        return {is_cold: self._spent[is_cold] + now, not is_cold: self._spent[not is_cold]}

    def join(self, turn: Turn) -> None:
        bisect.insort(self.turns, turn, key=lambda one: one.arrived)

    def leave(self, turn: Turn) -> None:
        self.turns.remove(turn)
        if self.turns:
            self.turns[0].called.set()


class WaitingRoom:
    """The lines of this process. `changed` is called with a deployment's id when somebody joins its line."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lines: dict[str, Line] = {}
        self._bytes = 0
        self.changed: Callable[[str], None] = lambda deployment_id: None

    @property
    def cold_start_seconds(self) -> float:
        """The most that any request waits for a replica to start."""
        return self._config.cold_start_seconds

    def waiting(self, deployment_id: str) -> int:
        line = self._lines.get(deployment_id)
        return len(line.turns) if line else 0

    def oldest_seconds(self, deployment_id: str) -> float:
        """For how long the first in line has been there; 0 when nobody is."""
        line = self._lines.get(deployment_id)
        return time.monotonic() - line.turns[0].arrived if line and line.turns else 0.0

    def freed(self, deployment_id: str) -> None:
        """A slot of this deployment is free: let the head ask at once."""
        line = self._lines.get(deployment_id)
        if line and line.turns:
            line.turns[0].called.set()

    async def admit(self, turn: Turn) -> Slot | Refusal:
        """The result of the attempt when it is this request's turn and it gives a slot or a refusal; else why the wait
        ended."""
        if turn.deployment_id not in self._lines:
            outcome = await turn.attempt()
            if not isinstance(outcome, NoSlot):
                turn.was_let_in = True
                return outcome
            self._lines.setdefault(turn.deployment_id, Line(outcome))
        line = self._lines[turn.deployment_id]
        if refusal := self._refusal_of_room(line, turn):
            self._close_if_empty(turn.deployment_id)
            return refusal
        return await self._held(line, turn)

    async def _held(self, line: Line, turn: Turn) -> Slot | Refusal:
        before = line.spent()
        earlier = turn.spent
        line.join(turn)
        self._bytes += turn.size
        self.changed(turn.deployment_id)
        try:
            return await self._wait(line, turn, {kind: earlier[kind] - before[kind] for kind in earlier})
        finally:
            after = line.spent()
            turn.spent = {kind: earlier[kind] + after[kind] - before[kind] for kind in earlier}
            turn.was_let_in = True
            self._bytes -= turn.size
            line.leave(turn)
            self._close_if_empty(turn.deployment_id)

    async def _wait(self, line: Line, turn: Turn, ahead: Seconds) -> Slot | Refusal:
        """`ahead`: the turn's seconds less the line's, by what for."""
        while (left := self._limit(line, turn) - ahead[line.reason.is_cold] - line.spent()[line.reason.is_cold]) > 0:
            pause = min(left, await turn.held(line.reason))
            await turn.pause(min(pause, PAUSES[line.reason]) if line.turns[0] is turn else pause)
            if line.turns[0] is not turn:
                continue
            outcome = await turn.attempt()
            if not isinstance(outcome, NoSlot):
                return outcome
            line.turned_away(outcome)
        return _refusal_of_age(line.reason)

    def _limit(self, line: Line, turn: Turn) -> float:
        return turn.cold_seconds if line.reason.is_cold else self._config.queue_seconds

    def _refusal_of_room(self, line: Line, turn: Turn) -> Refusal | None:
        """A request that was let in once is never turned away for want of room."""
        if turn.was_let_in:
            return None
        if len(line.turns) >= self._config.queue_length:
            return openai.overloaded("Too many requests wait for this deployment already. Try again shortly.", 5)
        if self._bytes + turn.size > self._config.queue_bytes:
            return openai.overloaded("The requests that wait already fill this gateway. Try again shortly.", 5)
        return None

    def _close_if_empty(self, deployment_id: str) -> None:
        line = self._lines.get(deployment_id)
        if line and not line.turns:
            del self._lines[deployment_id]


def _refusal_of_age(reason: NoSlot) -> Refusal:
    if reason.is_cold:
        return openai.cold_start_timeout(30)
    if reason is NoSlot.UNREACHED:
        return openai.unreachable()
    return openai.overloaded("All slots of this deployment stayed taken. Try again shortly.", 5)
