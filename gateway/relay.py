"""An engine's answer on its way to the caller, counted as it passes."""

from __future__ import annotations

import time

from gateway import openai, sse
from gateway.http import Answer
from gateway.openai import Refusal
from gateway.sse import EventTooLong, Splitter, Wish
from gateway.upstream import Answering, Lost
from gateway.usage import (
    COMPLETED,
    INTERRUPTED,
    NOTHING,
    REFUSED_UPSTREAM,
    UPSTREAM_ERROR,
    Counts,
    Tally,
    counts_of_answer,
)

ERROR_BYTES = 64 * 1024


class Relay:
    """One admitted attempt. `outcome` and `counts()` say what to record, whenever and however it ends."""

    def __init__(self, answer: Answer, wish: Wish, input_estimate: int) -> None:
        self._answer = answer
        self._wish = wish
        self._tally = Tally(input_estimate)
        self._input_estimate = input_estimate
        self._final: Counts | None = None
        self._has_error = False
        self.outcome = INTERRUPTED
        self.refusal: Refusal | None = None
        self.ttft_seconds: float | None = None

    def counts(self) -> Counts:
        """What to bill if the answer ended now."""
        return self._final or self._tally.counts()

    def refused(self, refusal: Refusal, outcome: str = UPSTREAM_ERROR) -> None:
        """The attempt gives no answer, so it costs nothing."""
        self.refusal, self.outcome, self._final = refusal, outcome, NOTHING

    async def run(self, upstream: Answering) -> None:
        """Pass the answer on. What the caller is to be refused afterwards stands in `refusal`."""
        if upstream.status != 200:
            await self._normalise(upstream)
        elif upstream.is_stream:
            await self._stream(upstream)
        elif self._answer.has_begun:
            self.refused(openai.no_stream())
        else:
            await self._whole(upstream)

    async def _normalise(self, upstream: Answering) -> None:
        try:
            body = (await upstream.whole())[:ERROR_BYTES]
        except Lost:
            body = b""
        refusal = openai.normalised(upstream.status, body)
        self.refused(refusal, REFUSED_UPSTREAM if refusal.status < 500 else UPSTREAM_ERROR)

    async def _whole(self, upstream: Answering) -> None:
        try:
            body = await upstream.whole()
        except Lost:
            self.refused(openai.upstream_lost(500))
            return
        self._final = counts_of_answer(body, self._input_estimate)
        self.outcome = COMPLETED
        await self._answer.whole(200, body, {"content-type": upstream.content_type or openai.JSON_TYPE})

    async def _stream(self, upstream: Answering) -> None:
        self.ttft_seconds = time.perf_counter() - self._answer.started
        if not self._answer.has_begun:
            await self._answer.begin(200, openai.STREAM_HEADERS)
        try:
            is_done = await self._events(upstream)
        except (Lost, EventTooLong):
            is_done = False
        if not is_done:
            self.outcome, self.refusal = UPSTREAM_ERROR, openai.upstream_lost()
            return
        self.outcome = UPSTREAM_ERROR if self._has_error else COMPLETED
        await self._answer.end()
        await upstream.finish()

    async def _events(self, upstream: Answering) -> bool:
        """Pass events on until `[DONE]`; False when the stream ends without it."""
        splitter = Splitter()
        async for chunk in upstream.chunks():
            shown, is_done = self._read(splitter.feed(chunk))
            if shown:
                await self._answer.write(shown)
            if is_done:
                return True
        shown, is_done = self._read([rest] if (rest := splitter.rest()) else [])
        if is_done:
            await self._answer.write(shown)
        return is_done

    def _read(self, events: list[bytes]) -> tuple[bytes, bool]:
        parts = []
        for event in events:
            reading = sse.read(event, self._wish)
            self._tally.note(reading.usage, reading.pieces)
            parts.append(reading.shown)
            self._has_error |= reading.is_error
            if reading.is_done:
                return b"".join(parts), True
        return b"".join(parts), False
