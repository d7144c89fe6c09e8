"""Relays an engine's response to the client and counts its tokens."""

from __future__ import annotations

import time

from gateway import openai_errors, sse
from gateway.coroutine_http import ReplicaResponse, Response, ResponseLost
from gateway.openai_errors import ErrorResponse
from gateway.sse import EventSplitter, EventTooLong, StreamOptions
from gateway.usage_metering import (
    COMPLETED,
    INTERRUPTED,
    NO_TOKENS,
    REFUSED_UPSTREAM,
    UPSTREAM_ERROR,
    StreamTokenCounter,
    TokenCounts,
    count_response_tokens,
)

MAX_ERROR_BYTES = 64 * 1024


class ResponseRelay:
    """Relays the response of one attempt.

    `outcome`, `ttft_seconds` and `get_counts()` are valid at any time, so that an interrupted relay can be metered.
    `error` is set when the caller has to send an error to the client.
    """

    def __init__(self, response: Response, stream_options: StreamOptions, input_estimate: int) -> None:
        self._response = response
        self._stream_options = stream_options
        self._input_estimate = input_estimate
        self._stream_counter = StreamTokenCounter(input_estimate)
        self._final_counts: TokenCounts | None = None
        self._has_error_event = False
        self.outcome = INTERRUPTED
        self.error: ErrorResponse | None = None
        self.ttft_seconds: float | None = None

    def get_counts(self) -> TokenCounts:
        """Return the tokens to meter if the response ended now."""
        return self._final_counts or self._stream_counter.get_counts()

    def fail(self, error: ErrorResponse, outcome: str = UPSTREAM_ERROR) -> None:
        """End the attempt with an error and no tokens."""
        self.error, self.outcome, self._final_counts = error, outcome, NO_TOKENS

    async def run(self, upstream: ReplicaResponse) -> None:
        """Relay the response. Raises ClientDisconnected."""
        if upstream.status != 200:
            await self._relay_error(upstream)
        elif upstream.is_stream:
            await self._relay_stream(upstream)
        elif self._response.has_begun:
            self.fail(openai_errors.stream_expected())
        else:
            await self._relay_whole(upstream)

    async def _relay_error(self, upstream: ReplicaResponse) -> None:
        try:
            body = (await upstream.read_whole())[:MAX_ERROR_BYTES]
        except ResponseLost:
            body = b""
        error = openai_errors.normalize_engine_error(upstream.status, body)
        self.fail(error, REFUSED_UPSTREAM if error.status < 500 else UPSTREAM_ERROR)

    async def _relay_whole(self, upstream: ReplicaResponse) -> None:
        try:
            body = await upstream.read_whole()
        except ResponseLost:
            self.fail(openai_errors.upstream_lost(500))
            return
        self._final_counts = count_response_tokens(body, self._input_estimate)
        self.outcome = COMPLETED
        content_type = upstream.content_type or openai_errors.JSON_CONTENT_TYPE
        await self._response.send_whole(200, body, {"content-type": content_type})

    async def _relay_stream(self, upstream: ReplicaResponse) -> None:
        self.ttft_seconds = time.perf_counter() - self._response.started
        if not self._response.has_begun:
            await self._response.begin(200, sse.STREAM_HEADERS)
        try:
            is_done = await self._relay_events(upstream)
        except (ResponseLost, EventTooLong):
            is_done = False
        if not is_done:
            self.outcome, self.error = UPSTREAM_ERROR, openai_errors.upstream_lost()
            return
        self.outcome = UPSTREAM_ERROR if self._has_error_event else COMPLETED
        await self._response.end()
        await upstream.finish()

    async def _relay_events(self, upstream: ReplicaResponse) -> bool:
        """Relay events until `[DONE]`; returns False if the stream ends without it."""
        splitter = EventSplitter()
        async for chunk in upstream.iterate_chunks():
            client_bytes, is_done = self._parse_events(splitter.feed(chunk))
            if client_bytes:
                await self._response.write(client_bytes)
            if is_done:
                return True
        remainder = splitter.take_remainder()
        client_bytes, is_done = self._parse_events([remainder] if remainder else [])
        if is_done:
            await self._response.write(client_bytes)
        return is_done

    def _parse_events(self, events: list[bytes]) -> tuple[bytes, bool]:
        """Count the tokens of the events; returns (bytes for the client, whether `[DONE]` was among them)."""
        parts = []
        for event in events:
            parsed = sse.parse_event(event, self._stream_options)
            self._stream_counter.add_chunk(parsed.usage, parsed.output_chunks)
            parts.append(parsed.client_bytes)
            self._has_error_event |= parsed.is_error
            if parsed.is_done:
                return b"".join(parts), True
        return b"".join(parts), False
