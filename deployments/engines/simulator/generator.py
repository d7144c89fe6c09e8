"""Generates responses at a configured pace, with limited concurrency and a queue, and counts them.

When the machine is overloaded, overdue tokens are sent together, one chunk each: a stream then comes in bursts, but
takes as long as configured.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from time import monotonic as clock

from deployments.engines.simulator import embeddings
from deployments.engines.simulator.generation_requests import GenerationRequest
from deployments.engines.simulator.metrics import Metrics
from deployments.engines.simulator.request_log import Entry, RequestLog, now
from deployments.engines.simulator.responses import DONE, Response

Send = Callable[[bytes], Awaitable[None]]
MAX_BURST_TOKENS = 16


@dataclass(frozen=True)
class Pace:
    """Seconds to the first token and between tokens, and the number of concurrent requests."""

    ttft_seconds: float
    itl_seconds: float
    max_concurrency: int


@dataclass
class _Work:
    """One request for the log. `arrived`: by `clock`; `sent`: tokens of all choices that were sent."""

    request_id: str
    route: str
    model: str
    stream: bool
    prompt_tokens: int
    arrived: float
    started_at: datetime
    finish: str = "length"
    sent: int = 0


class Generator:
    """Generates responses, and records the end of each request in the log and the metrics."""

    def __init__(self, pace: Pace, metrics: Metrics, request_log: RequestLog) -> None:
        self.pace = pace
        self._metrics = metrics
        self._request_log = request_log
        self._slots = asyncio.Semaphore(pace.max_concurrency)
        self._running = 0

    async def generate(self, request: GenerationRequest, request_id: str, send: Send) -> None:
        """Pass the bytes to `send`: chunks as they are due, or one body. Cancel it to abort."""
        route, name = ("/v1/chat/completions", "chatcmpl") if request.chat else ("/v1/completions", "cmpl")
        work = _Work(request_id, route, request.model, request.stream, request.prompt_tokens, clock(), now())
        response = Response(request, f"{name}-{request_id}", int(work.started_at.timestamp()))
        async with self._slot(work):
            if request.stream:
                await self._stream(response, work, send)
            else:
                await self._first_token(work)
                await self._further_tokens(request.max_tokens - 1)
                await send(response.body())
                work.sent = request.max_tokens * request.choices

    async def embed(self, request: embeddings.EmbeddingRequest, request_id: str, send: Send) -> None:
        """All vectors in one body, after the time to the first token; yields to other requests between two vectors."""
        route, started_at = "/v1/embeddings", now()
        work = _Work(request_id, route, request.model, False, request.prompt_tokens, clock(), started_at, finish="stop")
        async with self._slot(work):
            await self._first_token(work)
            rows = []
            for index in range(len(request.inputs)):
                rows.append(embeddings.row(request, index))
                await asyncio.sleep(0)
            await send(embeddings.body(request, f"embd-{request_id}", int(work.started_at.timestamp()), rows))

    @asynccontextmanager
    async def _slot(self, work: _Work) -> AsyncIterator[None]:
        """Hold one of the `max_concurrency` slots, granted in order; the end of the request is recorded."""
        outcome = "aborted"
        try:
            await self._wait_for_slot(work)
            try:
                yield
            finally:
                self._slots.release()
                self._change_running(-1)
            outcome = "finished"
        finally:
            self._record_end(work, outcome)

    async def _wait_for_slot(self, work: _Work) -> None:
        self._metrics.waiting.inc()
        try:
            await self._slots.acquire()
        finally:
            self._metrics.waiting.dec()
        self._change_running(1)
        self._metrics.queue.observe(clock() - work.arrived)
        self._metrics.prompt_tokens.inc(work.prompt_tokens)

    def _change_running(self, by: int) -> None:
        self._running += by
        self._metrics.running.set(self._running)
        self._metrics.cache.set(self._running / self.pace.max_concurrency)

    async def _first_token(self, work: _Work) -> None:
        await asyncio.sleep(self.pace.ttft_seconds)
        self._metrics.ttft.observe(clock() - work.arrived)

    async def _further_tokens(self, tokens: int) -> None:
        await asyncio.sleep(tokens * self.pace.itl_seconds)
        self._metrics.itl.observe(self.pace.itl_seconds, times=tokens)

    async def _stream(self, response: Response, work: _Work, send: Send) -> None:
        """Send each token when it is due, relative to the first one, together with overdue ones."""
        begun, most = clock() + self.pace.ttft_seconds, response.request.max_tokens
        await self._first_token(work)
        position, last = 0, clock()
        while position < most:
            await asyncio.sleep(max(0.0, begun + position * self.pace.itl_seconds - clock()))
            end = min(most, self._due_end(position, clock() - begun))
            await send(b"".join(_chunks(response, work, range(position, end))))
            self._metrics.itl.observe((clock() - last) / (end - position), times=end - max(position, 1))
            position, last = end, clock()
        await send((response.usage_chunk(work.sent) if response.request.include_usage else b"") + DONE)

    def _due_end(self, position: int, seconds: float) -> int:
        """The end of the next burst: at least the token at `position`, and those that are due after `seconds`."""
        itl = self.pace.itl_seconds
        overdue = int(seconds / itl) + 1 - position if itl else MAX_BURST_TOKENS
        return position + max(1, min(overdue, MAX_BURST_TOKENS))

    def _record_end(self, work: _Work, outcome: str) -> None:
        seconds = clock() - work.arrived
        self._metrics.generation_tokens.inc(work.sent)
        self._metrics.whole.observe(seconds)
        self._metrics.success[work.finish if outcome == "finished" else "abort"].inc()
        entry = Entry(
            request_id=work.request_id,
            route=work.route,
            model=work.model,
            stream=work.stream,
            prompt_tokens=work.prompt_tokens,
            completion_tokens=work.sent,
            outcome=outcome,
            started_at=work.started_at.isoformat(),
            seconds=round(seconds, 6),
        )
        self._request_log.write(entry)


def _chunks(response: Response, work: _Work, positions: range) -> Iterator[bytes]:
    for position in positions:
        for index in range(response.request.choices):
            work.sent += 1
            yield response.chunk(position, index, work.sent)
