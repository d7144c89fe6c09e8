"""Where requests are generated: so many at a time, the rest in a queue, each at its own pace, all counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from deployments.engines.simulator.answers import DONE, Answer
from deployments.engines.simulator.gauges import Gauges
from deployments.engines.simulator.journal import Entry, Journal, now
from deployments.engines.simulator.requests import Wanted

Send = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True)
class Pace:
    """Seconds to the first token and between tokens, and how many requests run at a time."""

    ttft_seconds: float
    itl_seconds: float
    max_concurrency: int


class Desk:
    """Generates answers and writes each request's end into journal and gauges."""

    def __init__(self, pace: Pace, gauges: Gauges, journal: Journal) -> None:
        self.pace = pace
        self._gauges = gauges
        self._journal = journal
        self._room = asyncio.Semaphore(pace.max_concurrency)
        self._running = 0

    async def answer(self, wanted: Wanted, request_id: str, send: Send) -> None:
        """Generate, handing the bytes to `send`: chunks as they come, or one body. Cancel it to abort."""
        clock, started_at = asyncio.get_running_loop().time, now()
        arrived, work = clock(), _Work(wanted)
        outcome = "aborted"
        try:
            async with self._place(arrived):
                name = "chatcmpl" if wanted.chat else "cmpl"
                answer = Answer(wanted, f"{name}-{request_id}", int(started_at.timestamp()))
                await self._generate(answer, work, send, arrived)
            outcome = "finished"
        finally:
            seconds = clock() - arrived
            self._count(work, outcome, seconds)
            route = "/v1/chat/completions" if wanted.chat else "/v1/completions"
            told = (request_id, route, wanted.model, wanted.stream, wanted.prompt_tokens, work.sent)
            self._journal.write(Entry(*told, outcome, started_at.isoformat(), round(seconds, 6)))

    @asynccontextmanager
    async def _place(self, arrived: float) -> AsyncIterator[None]:
        """One of the `max_concurrency` places, waited for in order."""
        self._gauges.waiting.inc()
        try:
            await self._room.acquire()
        finally:
            self._gauges.waiting.dec()
        self._gauges.queue.observe(asyncio.get_running_loop().time() - arrived)
        self._take(1)
        try:
            yield
        finally:
            self._room.release()
            self._take(-1)

    def _take(self, places: int) -> None:
        self._running += places
        self._gauges.running.set(self._running)
        self._gauges.cache.set(self._running / self.pace.max_concurrency)

    async def _generate(self, answer: Answer, work: _Work, send: Send, arrived: float) -> None:
        clock, wanted = asyncio.get_running_loop().time, answer.wanted
        due = clock() + self.pace.ttft_seconds
        self._gauges.prompt_tokens.inc(wanted.prompt_tokens)
        for place in range(wanted.max_tokens):
            if wanted.stream or place == 0 or place == wanted.max_tokens - 1:
                await asyncio.sleep(max(0.0, due - clock()))
            due += self.pace.itl_seconds
            if place == 0:
                self._gauges.ttft.observe(clock() - arrived)
            else:
                self._gauges.itl.observe(self.pace.itl_seconds)
            if wanted.stream:
                await self._send_chunks(answer, place, work, send)
        if wanted.stream:
            tail = answer.usage_chunk(work.sent) if wanted.include_usage else b""
            await send(tail + DONE)
        else:
            await send(answer.body())
            work.sent = wanted.max_tokens * wanted.choices

    async def _send_chunks(self, answer: Answer, place: int, work: _Work, send: Send) -> None:
        for index in range(answer.wanted.choices):
            work.sent += 1
            await send(answer.chunk(place, index, work.sent))

    def _count(self, work: _Work, outcome: str, seconds: float) -> None:
        self._gauges.generation_tokens.inc(work.sent)
        self._gauges.whole.observe(seconds)
        self._gauges.success["length" if outcome == "finished" else "abort"].inc()


@dataclass
class _Work:
    """How far a request is: `sent` tokens of all choices were handed out."""

    wanted: Wanted
    sent: int = 0
