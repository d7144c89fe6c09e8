"""Where requests are generated: so many at a time, the rest in a queue, each at its own pace, all counted.

Under more load than the machine can carry, tokens that are overdue go out together, one chunk each: a stream then
comes in bursts, but takes as long as it should.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from time import monotonic as clock

from deployments.engines.simulator import embeddings
from deployments.engines.simulator.answers import DONE, Answer
from deployments.engines.simulator.gauges import Gauges
from deployments.engines.simulator.journal import Entry, Journal, now
from deployments.engines.simulator.requests import Wanted

Send = Callable[[bytes], Awaitable[None]]
MOST_TOGETHER = 16


@dataclass(frozen=True)
class Pace:
    """Seconds to the first token and between tokens, and how many requests run at a time."""

    ttft_seconds: float
    itl_seconds: float
    max_concurrency: int


@dataclass
class _Work:
    """One request for the journal. `arrived` is of `clock`; `sent` tokens of all choices were handed out."""

    request_id: str
    route: str
    model: str
    stream: bool
    prompt_tokens: int
    arrived: float
    started_at: datetime
    finish: str = "length"
    sent: int = 0


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
        route, name = ("/v1/chat/completions", "chatcmpl") if wanted.chat else ("/v1/completions", "cmpl")
        told = (request_id, route, wanted.model, wanted.stream, wanted.prompt_tokens)
        work = _Work(*told, clock(), now())
        answer = Answer(wanted, f"{name}-{request_id}", int(work.started_at.timestamp()))
        async with self._place(work):
            if wanted.stream:
                await self._stream(answer, work, send)
            else:
                await self._first_token(work)
                await self._further_tokens(wanted.max_tokens - 1)
                await send(answer.body())
                work.sent = wanted.max_tokens * wanted.choices

    async def embed(self, asked: embeddings.Asked, request_id: str, send: Send) -> None:
        """All vectors in one answer, after the time of a first token; others get their turn between two of them."""
        told = (request_id, "/v1/embeddings", asked.model, False, asked.prompt_tokens)
        work = _Work(*told, clock(), now(), finish="stop")
        async with self._place(work):
            await self._first_token(work)
            rows = []
            for index in range(len(asked.inputs)):
                rows.append(embeddings.row(asked, index))
                await asyncio.sleep(0)
            await send(embeddings.body(asked, f"embd-{request_id}", int(work.started_at.timestamp()), rows))

    @asynccontextmanager
    async def _place(self, work: _Work) -> AsyncIterator[None]:
        """One of the `max_concurrency` places, waited for in order; its end is written down."""
        outcome = "aborted"
        try:
            await self._wait_for_room(work)
            try:
                yield
            finally:
                self._room.release()
                self._take(-1)
            outcome = "finished"
        finally:
            self._write(work, outcome)

    async def _wait_for_room(self, work: _Work) -> None:
        self._gauges.waiting.inc()
        try:
            await self._room.acquire()
        finally:
            self._gauges.waiting.dec()
        self._take(1)
        self._gauges.queue.observe(clock() - work.arrived)
        self._gauges.prompt_tokens.inc(work.prompt_tokens)

    def _take(self, places: int) -> None:
        self._running += places
        self._gauges.running.set(self._running)
        self._gauges.cache.set(self._running / self.pace.max_concurrency)

    async def _first_token(self, work: _Work) -> None:
        await asyncio.sleep(self.pace.ttft_seconds)
        self._gauges.ttft.observe(clock() - work.arrived)

    async def _further_tokens(self, tokens: int) -> None:
        await asyncio.sleep(tokens * self.pace.itl_seconds)
        self._gauges.itl.observe(self.pace.itl_seconds, times=tokens)

    async def _stream(self, answer: Answer, work: _Work, send: Send) -> None:
        """Each token when it is due by the first one's time, or with those that are overdue too."""
        begun, most = clock() + self.pace.ttft_seconds, answer.wanted.max_tokens
        await self._first_token(work)
        place, last = 0, clock()
        while place < most:
            await asyncio.sleep(max(0.0, begun + place * self.pace.itl_seconds - clock()))
            end = min(most, self._due(place, clock() - begun))
            await send(b"".join(_chunks(answer, work, range(place, end))))
            self._gauges.itl.observe((clock() - last) / (end - place), times=end - max(place, 1))
            place, last = end, clock()
        await send((answer.usage_chunk(work.sent) if answer.wanted.include_usage else b"") + DONE)

    def _due(self, place: int, seconds: float) -> int:
        """The end of what goes out together: the token at `place` at least, and what is due after `seconds`."""
        itl = self.pace.itl_seconds
        overdue = int(seconds / itl) + 1 - place if itl else MOST_TOGETHER
        return place + max(1, min(overdue, MOST_TOGETHER))

    def _write(self, work: _Work, outcome: str) -> None:
        seconds = clock() - work.arrived
        self._gauges.generation_tokens.inc(work.sent)
        self._gauges.whole.observe(seconds)
        self._gauges.success[work.finish if outcome == "finished" else "abort"].inc()
        told = (work.request_id, work.route, work.model, work.stream, work.prompt_tokens, work.sent)
        self._journal.write(Entry(*told, outcome, work.started_at.isoformat(), round(seconds, 6)))


def _chunks(answer: Answer, work: _Work, places: range) -> Iterator[bytes]:
    for place in places:
        for index in range(answer.wanted.choices):
            work.sent += 1
            yield answer.chunk(place, index, work.sent)
