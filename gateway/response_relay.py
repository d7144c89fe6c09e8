"""Relays an engine's response to the client and counts its tokens."""

from __future__ import annotations

import time

from gateway import openai_errors, sse
from gateway.coroutine_http import ReplicaResponse, Response, ResponseLost
from gateway.openai_errors import ErrorResponse
from gateway.sse import EventTooLong, StreamOptions
from gateway.stream_editor import OutputTimes, StreamEditor
from gateway.usage_metering import (
    COMPLETED,
    INTERRUPTED,
    NO_TOKENS,
    REFUSED_UPSTREAM,
    UPSTREAM_ERROR,
    TokenCounts,
    count_response_tokens,
)

MAX_ERROR_BYTES = 64 * 1024


class ResponseRelay:
    """Relays the response of one attempt.

    `outcome`, `get_counts()` and `get_output_times()` are valid at any time, so that an interrupted relay can be
    metered. `error` is set when the caller has to send an error to the client.
    """

    def __init__(self, response: Response, stream_options: StreamOptions, input_estimate: int) -> None:
        self._response = response
        self._input_estimate = input_estimate
        self._editor = StreamEditor(stream_options)
        self._final_counts: TokenCounts | None = None
        self.outcome = INTERRUPTED
        self.error: ErrorResponse | None = None

    def get_counts(self) -> TokenCounts:
        """Return the tokens to meter if the response ended now."""
        return self._final_counts or self._editor.get_counts(self._input_estimate)

    def get_output_times(self) -> OutputTimes:
        """Return when a stream had output so far, on the clock of `time.perf_counter`."""
        return self._editor.output_times

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
        if not self._response.has_begun:
            await self._response.begin(200, sse.STREAM_HEADERS)
        try:
            is_done = await self._relay_events(upstream)
        except (ResponseLost, EventTooLong):
            is_done = False
        if not is_done:
            self.outcome, self.error = UPSTREAM_ERROR, openai_errors.upstream_lost()
            return
        self.outcome = UPSTREAM_ERROR if self._editor.has_error else COMPLETED
        await self._response.end()
        await upstream.finish()

    async def _relay_events(self, upstream: ReplicaResponse) -> bool:
        """Relay events until `[DONE]`; returns False if the stream ends without it."""
        editor = self._editor
        async for chunk in upstream.iterate_chunks():
            client_bytes = editor.feed(chunk, time.perf_counter())
            if client_bytes:
                await self._response.write(client_bytes)
            if editor.is_done:
                return True
        client_bytes = editor.finish(time.perf_counter())
        if editor.is_done:
            await self._response.write(client_bytes)
        return editor.is_done
