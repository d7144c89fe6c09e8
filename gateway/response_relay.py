"""Relays an engine's response to the client and counts its tokens."""

from __future__ import annotations

import enum
import time

from gateway import openai_errors
from gateway.http.heads import ResponseHead, render_fields
from gateway.openai_errors import ErrorResponse
from gateway.responses import JSON_HEADERS, Response
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
MAX_RESPONSE_BYTES = 64 * 1024 * 1024
JSON_CONTENT_TYPES = {"", "application/json"}


class Kind(enum.Enum):
    """What the engine's response is."""

    STREAM = "server-sent events"
    WHOLE = "one JSON document"
    ERROR = "a status other than 200"


class ResponseRelay:
    """Relays the response of one attempt: `begin`, `feed` for each part, then `finish` or `lose`.

    `has_ended` is set when nothing more will be relayed. `error` is then what the caller has to send to the client, if
    anything. `outcome`, `get_counts()` and `output_times` are valid at any time, so that an interrupted relay can be
    metered.
    """

    def __init__(self, response: Response, stream_options: StreamOptions, input_estimate: int) -> None:
        self._response = response
        self._input_estimate = input_estimate
        self._editor = StreamEditor(stream_options)
        self._final_counts: TokenCounts | None = None
        self._kind = Kind.WHOLE
        self._status = 200
        self._content_type = ""
        self._parts: list[bytes] = []
        self._size = 0
        self.outcome = INTERRUPTED
        self.error: ErrorResponse | None = None
        self.has_ended = False

    @property
    def output_times(self) -> OutputTimes:
        """When a stream had output so far, on the clock of `time.perf_counter`."""
        return self._editor.output_times

    def get_counts(self) -> TokenCounts:
        """Return the tokens to meter if the response ended now."""
        return self._final_counts or self._editor.get_counts(self._input_estimate)

    def fail(self, error: ErrorResponse, outcome: str = UPSTREAM_ERROR) -> None:
        """End the attempt with an error and no tokens."""
        self.error, self.outcome, self._final_counts, self.has_ended = error, outcome, NO_TOKENS, True

    def begin(self, head: ResponseHead) -> None:
        """The head and the first byte of the response have arrived."""
        self._status = head.status
        self._content_type = head.fields.get("content-type", "")
        if head.status != 200:
            self._kind = Kind.ERROR
        elif self._content_type.lower().startswith("text/event-stream"):
            self._kind = Kind.STREAM
            if not self._response.has_begun:
                self._response.begin_stream()
        elif self._response.has_begun:
            self.fail(openai_errors.stream_expected())

    def feed(self, data: bytes) -> None:
        """Relay a part of the body."""
        if self._kind is Kind.STREAM:
            try:
                self._relay_events(self._editor.feed(data, time.perf_counter()))
            except EventTooLong:
                self.lose()
            return
        self._size += len(data)
        if self._kind is Kind.WHOLE and self._size > MAX_RESPONSE_BYTES:
            self.fail(openai_errors.upstream_lost(500))
        elif self._kind is Kind.WHOLE or self._size - len(data) < MAX_ERROR_BYTES:
            self._parts.append(data)

    def finish(self) -> None:
        """The response of the engine is complete."""
        if self._kind is Kind.STREAM:
            self._relay_events(self._editor.finish(time.perf_counter()))
            if not self.has_ended:
                self.lose()
        elif self._kind is Kind.WHOLE:
            self._relay_whole(b"".join(self._parts))
        else:
            self._refuse(b"".join(self._parts)[:MAX_ERROR_BYTES])

    def lose(self) -> None:
        """The response was lost after its first byte."""
        if self._kind is Kind.STREAM:
            self.outcome, self.error, self.has_ended = UPSTREAM_ERROR, openai_errors.upstream_lost(), True
        elif self._kind is Kind.WHOLE:
            self.fail(openai_errors.upstream_lost(500))
        else:
            self._refuse(b"")

    def _relay_whole(self, body: bytes) -> None:
        self._final_counts = count_response_tokens(body, self._input_estimate)
        self.outcome, self.has_ended = COMPLETED, True
        if self._content_type in JSON_CONTENT_TYPES:
            self._response.send_whole(200, body, JSON_HEADERS)
        else:
            self._response.send_whole(200, body, render_fields([("content-type", self._content_type)]))

    def _refuse(self, body: bytes) -> None:
        error = openai_errors.normalize_engine_error(self._status, body)
        self.fail(error, REFUSED_UPSTREAM if error.status < 500 else UPSTREAM_ERROR)

    def _relay_events(self, client_bytes: bytes) -> None:
        """Write what is left of the events that have arrived; the stream ends with `[DONE]`."""
        if self._editor.is_done:
            self.outcome = UPSTREAM_ERROR if self._editor.has_error else COMPLETED
            self.has_ended = True
            self._response.end(client_bytes)
        elif client_bytes:
            self._response.write(client_bytes)
