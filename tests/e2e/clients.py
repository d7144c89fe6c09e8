"""Official clients that write down what they saw of every request: how it ended, when, and how many tokens came.

The client library takes a stream that just stops for a complete answer, so the bytes are watched below it.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import httpx
import openai

logging.getLogger("httpx").setLevel(logging.WARNING)
MESSAGES = [{"role": "user", "content": "Count with me"}]
TAIL_BYTES = 64


class Ending(StrEnum):
    """DONE: whole. TOLD: an error event in the stream. REFUSED: an error status. CUT: the connection broke.
    SILENT: a stream that ended as if it were whole, without its last event. LEFT: the client went away."""

    DONE = "done"
    TOLD = "told"
    REFUSED = "refused"
    CUT = "cut"
    SILENT = "silent"
    LEFT = "left"


@dataclass
class Seen:
    """One request as its client saw it. Times are of `time.time()`; `tokens` are the chunks that had text;
    `answer_id` holds the request id under which the engine wrote it down."""

    model: str
    asked_at: float = field(default_factory=time.time)
    first_at: float = 0.0
    ended_at: float = 0.0
    ending: Ending = Ending.LEFT
    status: int = 0
    code: str = ""
    answer_id: str = ""
    tokens: int = 0

    @property
    def request_id(self) -> str:
        return self.answer_id.partition("-")[2]


class _Tail(httpx.AsyncByteStream):
    """Passes bytes on and keeps the last of them."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream
        self.last = b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self.last = (self.last + chunk)[-TAIL_BYTES:]
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Watched(httpx.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = response.extensions["tail"] = _Tail(response.stream)
        return response


def client(base_url: str, key: str, seconds: float = 90.0) -> openai.AsyncOpenAI:
    """Without retries; `seconds` of silence are its time-out."""
    pool = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    transport = httpx.AsyncClient(transport=_Watched(limits=pool), timeout=httpx.Timeout(seconds, connect=5))
    return openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0, http_client=transport)


async def call(
    api: openai.AsyncOpenAI, model: str, tokens: int, *, stream: bool = True, seen: Seen | None = None
) -> Seen:
    """One chat completion of `tokens` tokens, to its end, whatever that is; `seen` is filled in as it goes.
    Cancelled: the client leaves."""
    seen = seen or Seen(model)
    seen.asked_at = time.time()
    try:
        if stream:
            await _stream(api, seen, tokens)
        else:
            await _whole(api, seen, tokens)
    except openai.APIStatusError as error:
        seen.ending, seen.status, seen.code = Ending.REFUSED, error.status_code, error.code or ""
    except openai.APIConnectionError as error:
        seen.ending, seen.code = Ending.CUT, type(error).__name__
    except openai.APIError as error:
        seen.ending, seen.code = Ending.TOLD, error.code or ""
    except httpx.HTTPError as error:
        seen.ending, seen.code = Ending.CUT, type(error).__name__
    seen.ended_at = time.time()
    return seen


async def _stream(api: openai.AsyncOpenAI, seen: Seen, tokens: int) -> None:
    stream = await api.chat.completions.create(model=seen.model, messages=MESSAGES, max_tokens=tokens, stream=True)
    async with stream:
        async for chunk in stream:
            seen.answer_id = chunk.id
            if chunk.choices and chunk.choices[0].delta.content:
                seen.first_at = seen.first_at or time.time()
                seen.tokens += 1
    tail = stream.response.extensions["tail"].last
    seen.ending = Ending.DONE if tail.rstrip().endswith(b"data: [DONE]") else Ending.SILENT


async def _whole(api: openai.AsyncOpenAI, seen: Seen, tokens: int) -> None:
    answer = await api.chat.completions.create(model=seen.model, messages=MESSAGES, max_tokens=tokens)
    seen.answer_id, seen.first_at, seen.ending = answer.id, time.time(), Ending.DONE
    seen.tokens = answer.usage.completion_tokens if answer.usage else 0


class Background:
    """Coroutines on a thread of their own, so that a test does something else meanwhile."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def begin(self, work: Coroutine[Any, Any, Any]) -> "Future[Any]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def begin_all(self, works: Iterable[Coroutine[Any, Any, Any]]) -> list["Future[Any]"]:
        return [self.begin(work) for work in works]

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


class Callers:
    """Clients that call one of `models` after another, which may change meanwhile, until they are told to end."""

    def __init__(self, base_url: str, key: str, models: list[str], *, tokens: int, count: int) -> None:
        self.seen: list[Seen] = []
        self.models, self.count, self._tokens = models, count, tokens
        self._api = client(base_url, key)
        self._ended = False
        self._background = Background()
        self._work = self._background.begin_all(self._call_on(start) for start in range(count))

    async def _call_on(self, turn: int) -> None:
        while not self._ended:
            models = list(self.models)
            if not models:
                await asyncio.sleep(0.05)
                continue
            one = await call(self._api, models[turn % len(models)], self._tokens, stream=turn % 4 != 0)
            self.seen.append(one)
            turn += 1
            await asyncio.sleep(0.01 if one.ending is Ending.DONE else 0.2)

    def end(self, seconds: float = 120.0) -> list[Seen]:
        self._ended = True
        for work in self._work:
            work.result(seconds)
        self._background.close()
        return self.seen
