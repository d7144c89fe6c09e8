"""The callers, in the process of the benchmark on uvloop: as little work per response as tells a whole one from others.

Every run takes `observe`, which is called when the measured window begins and when it ends, so that the counts of
responses and the CPU times of the servers belong to the same moments.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from benchmarks.gateway.replica import ANSWER, HEAD_END, LENGTH

OK = b"HTTP/1.1 200"
EVENT = b"data: {"
CHUNKED_END = b"\r\n0\r\n\r\n"
SETTLE_SECONDS = 0.3  # from the first request to the start of a window
OPENING = 64  # connections that are being opened at a time
OPEN_SECONDS = 60.0
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_libc = ctypes.CDLL(None, use_errno=True)
Observed = TypeVar("Observed")


@dataclass(frozen=True)
class Target:
    """A server on 127.0.0.1, the model to ask it for, and the API key to ask with."""

    port: int
    model: str
    key: str

    def build_request(self, prompt: str = "Say hello.", stream: bool = False) -> bytes:
        message = {"role": "user", "content": prompt}
        content: dict[str, object] = {"model": self.model, "messages": [message], "max_tokens": 64}
        body = json.dumps(content | ({"stream": True} if stream else {})).encode()
        return (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:%d\r\naccept: application/json\r\n"
            b"content-type: application/json\r\nauthorization: Bearer %b\r\ncontent-length: %d\r\n\r\n"
            % (self.port, self.key.encode(), len(body))
        ) + body


@dataclass
class Window(Generic[Observed]):
    """What was counted between `before` and `after`; `failed` are answers other than 200 and lost connections."""

    seconds: float
    before: Observed
    after: Observed
    responses: int = 0
    chunks: int = 0
    failed: int = 0
    latencies: list[float] = field(default_factory=list)
    unanswered: int = 0


@dataclass
class Counts:
    """Shared by the connections of a run."""

    responses: int = 0
    chunks: int = 0
    failed: int = 0
    is_closing: bool = False


class Connection(asyncio.Protocol):
    """Sends `request` on a connection that is kept, and calls `response_ended` for each whole response."""

    def __init__(self, request: bytes, counts: Counts) -> None:
        self._request, self._counts = request, counts
        self._buffer = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def send(self) -> None:
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._buffer and data.endswith(ANSWER) and data.startswith(OK):
            self.response_ended()
            return
        self._buffer += data
        if is_whole_response(self._buffer):
            self._counts.failed += not self._buffer.startswith(OK)
            self._buffer = b""
            self.response_ended()

    def response_ended(self) -> None:
        raise NotImplementedError

    def connection_lost(self, error: Exception | None) -> None:
        self._counts.failed += not self._counts.is_closing


def is_whole_response(data: bytes) -> bool:
    """Whether `data`, which begins with a response, contains the end of it."""
    end = data.find(HEAD_END)
    if end < 0:
        return False
    if length := LENGTH.search(data, 0, end):
        return len(data) >= end + 4 + int(length[1])
    return not CHUNKED.search(data, 0, end) or data.endswith(CHUNKED_END)


class Repeater(Connection):
    """Sends the next request when the last is answered."""

    def response_ended(self) -> None:
        self._counts.responses += 1
        self.send()


async def run_closed_loop(
    target: Target, connections: int, seconds: float, observe: Callable[[], Observed]
) -> Window[Observed]:
    """Each connection sends its next request when the last is answered."""
    counts = Counts()
    async with _connected(target, lambda: Repeater(target.build_request(), counts), connections, counts) as callers:
        for caller in callers:
            caller.send()
        await asyncio.sleep(SETTLE_SECONDS)
        return await _count(counts, seconds, observe)


class PacedCaller(Connection):
    """Sends a request when told to; a request that finds no free connection waits for one."""

    def __init__(self, request: bytes, counts: Counts, pace: Pace) -> None:
        super().__init__(request, counts)
        self._pace = pace
        self._due = 0.0

    def send_due(self, due: float) -> None:
        self._due = due
        self.send()

    def response_ended(self) -> None:
        self._counts.responses += 1
        self._pace.latencies.append(time.perf_counter() - self._due)
        if self._pace.waiting:
            self.send_due(self._pace.waiting.popleft())
        else:
            self._pace.idle.append(self)


@dataclass
class Pace:
    """`waiting`: when the requests without a connection were due."""

    idle: list[PacedCaller] = field(default_factory=list)
    waiting: deque[float] = field(default_factory=deque)
    latencies: list[float] = field(default_factory=list)


async def run_paced(
    target: Target, connections: int, per_second: float, seconds: float, observe: Callable[[], Observed]
) -> Window[Observed]:
    """Requests at fixed moments, however slow the answers are; a latency counts from the moment the request was due."""
    counts, pace = Counts(), Pace()

    def send(due: float) -> None:
        if pace.idle:
            pace.idle.pop().send_due(due)
        else:
            pace.waiting.append(due)

    make = lambda: PacedCaller(target.build_request(), counts, pace)  # noqa: E731
    async with _connected(target, make, connections, counts) as callers:
        pace.idle.extend(callers)
        with Metronome(per_second, send):
            await asyncio.sleep(SETTLE_SECONDS)
            first = len(pace.latencies)
            window = await _count(counts, seconds, observe)
        window.unanswered = len(pace.waiting) + connections - len(pace.idle)
        window.latencies = pace.latencies[first:]
        return window


class _TimeSpec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _TimerSpec(ctypes.Structure):
    _fields_ = [("interval", _TimeSpec), ("first", _TimeSpec)]


class Metronome:
    """Calls `tick` with each moment that is due, on a timerfd: the timers of event loops are precise to 1 ms only."""

    def __init__(self, per_second: float, tick: Callable[[float], None]) -> None:
        self._interval, self._tick, self._count = 1 / per_second, tick, 0
        self._descriptor = _libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")

    def __enter__(self) -> None:
        interval = _TimeSpec(0, int(self._interval * 1e9))
        self._start = time.perf_counter()
        _libc.timerfd_settime(self._descriptor, 0, ctypes.byref(_TimerSpec(interval, interval)), None)
        asyncio.get_running_loop().add_reader(self._descriptor, self._expired)

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _expired(self) -> None:
        for _ in range(int.from_bytes(os.read(self._descriptor, 8), "little")):
            self._count += 1
            self._tick(self._start + self._count * self._interval)


class StreamCaller(asyncio.Protocol):
    """Asks for a stream, counts its chunks, and asks for the next one when it has ended."""

    def __init__(self, request: bytes, counts: Counts) -> None:
        self._request, self._counts = request, counts
        self._tail = b""
        self._is_first = True
        self.transport: asyncio.Transport
        self.has_begun: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def send(self) -> None:
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._is_first:
            self._is_first = False
            self._counts.failed += not data.startswith(OK)
        text = self._tail + data
        chunks = text.count(EVENT)
        self._counts.chunks += chunks
        if chunks and not self.has_begun.done():
            self.has_begun.set_result(True)
        if text.endswith(CHUNKED_END):
            self._counts.responses += 1
            self._tail, self._is_first = b"", True
            self.send()
        else:
            self._tail = text[1 - len(EVENT) :]  # too short to be counted twice

    def connection_lost(self, error: Exception | None) -> None:
        self._counts.failed += not self._counts.is_closing
        if not self.has_begun.done():
            self.has_begun.set_result(False)


async def run_streams(
    target: Target, streams: int, chunks: int, pause: float, seconds: float, observe: Callable[[], Observed]
) -> Window[Observed]:
    """Keep `streams` streams open whose starts are spread evenly; `pause` seconds lie between two chunks of one."""
    counts, lifetime = Counts(), chunks * pause
    request = target.build_request(f"{chunks} chunks, one every {pause * 1000:.0f} ms", stream=True)
    async with _connected(target, lambda: StreamCaller(request, counts), streams, counts) as callers:
        loop = asyncio.get_running_loop()
        for number, caller in enumerate(callers):
            loop.call_later(number * lifetime / streams, caller.send)
        await asyncio.sleep(lifetime + SETTLE_SECONDS)
        return await _count(counts, seconds, observe)


async def hold_streams(
    target: Target, streams: int, pause: float, hold_seconds: float, observe: Callable[[], Observed]
) -> Window[Observed]:
    """Open streams that send a chunk every `pause` seconds; `responses` counts those that are open at the end."""
    counts, gate = Counts(), asyncio.Semaphore(OPENING)
    request = target.build_request(f"1000 chunks, one every {pause * 1000:.0f} ms", stream=True)
    loop, callers = asyncio.get_running_loop(), []
    before, start = observe(), time.perf_counter()

    async def open_one() -> None:
        async with gate:
            _, caller = await loop.create_connection(lambda: StreamCaller(request, counts), "127.0.0.1", target.port)
            callers.append(caller)
            caller.send()
            await caller.has_begun

    try:
        async with asyncio.timeout(OPEN_SECONDS):
            await asyncio.gather(*(open_one() for _ in range(streams)))
        await asyncio.sleep(hold_seconds)
        after = observe()
        is_open = sum(caller.has_begun.result() and not caller.transport.is_closing() for caller in callers)
    finally:
        counts.is_closing = True
        for caller in callers:
            caller.transport.abort()
    await asyncio.sleep(SETTLE_SECONDS)
    return Window(time.perf_counter() - start, before, after, is_open, counts.chunks, counts.failed)


Caller = TypeVar("Caller", Repeater, PacedCaller, StreamCaller)


@asynccontextmanager
async def _connected(
    target: Target, make: Callable[[], Caller], connections: int, counts: Counts
) -> AsyncIterator[list[Caller]]:
    """Open connections, one after the other, and close them at the end."""
    loop = asyncio.get_running_loop()
    callers: list[Caller] = []
    try:
        for _ in range(connections):
            _, caller = await loop.create_connection(make, "127.0.0.1", target.port)
            callers.append(caller)
        yield callers
    finally:
        counts.is_closing = True
        for caller in callers:
            caller.transport.abort()
        await asyncio.sleep(0)


async def _count(counts: Counts, seconds: float, observe: Callable[[], Observed]) -> Window[Observed]:
    """Count what ends within `seconds` from now."""
    before, start = observe(), time.perf_counter()
    responses, chunks, failed = counts.responses, counts.chunks, counts.failed
    await asyncio.sleep(seconds)
    after, end = observe(), time.perf_counter()
    return Window(
        end - start, before, after, counts.responses - responses, counts.chunks - chunks, counts.failed - failed
    )
