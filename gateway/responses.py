"""The response to one request, with the headers that every response of the gateway has."""

from __future__ import annotations

import time
from collections.abc import Mapping

from gateway.http.client_connection import ClientResponse
from gateway.http.heads import render_fields
from gateway.openai_errors import ErrorResponse
from gateway.request_ids import format_public_id

OPENAI_VERSION = "2020-10-01"
MAX_ECHOED_ID_CHARACTERS = 200
JSON_HEADERS = b"content-type: application/json\r\n"
STREAM_HEADERS = (
    b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
)


class Response:
    """Writes the response of one exchange. Header blocks are whole lines with CR LF.

    `request_id` may change until the head is sent; before that, `status` is 0.
    """

    __slots__ = ("_client", "client_request_id", "limit_headers", "organization", "request_id", "started")

    def __init__(self, client: ClientResponse, request_id: str, client_request_id: str | None) -> None:
        self._client = client
        self.request_id = request_id
        self.client_request_id = client_request_id
        self.organization = ""
        self.limit_headers = b""
        self.started = time.perf_counter()

    @property
    def status(self) -> int:
        return self._client.status

    @property
    def has_begun(self) -> bool:
        return self._client.status != 0

    @property
    def has_ended(self) -> bool:
        return self._client.has_ended

    @property
    def is_full(self) -> bool:
        """Whether the client reads more slowly than is written."""
        return self._client.is_full

    def begin_stream(self) -> None:
        """Send the head of a stream of events."""
        self._client.begin(200, self._render_headers() + STREAM_HEADERS)

    def write(self, data: bytes) -> None:
        """Send a part of the body."""
        self._client.write(data)

    def end(self, data: bytes = b"") -> None:
        """Send the last part of the body."""
        self._client.end(data)

    def send_whole(self, status: int, body: bytes, headers: bytes = JSON_HEADERS) -> None:
        """Send a complete response."""
        self._client.send_whole(status, self._render_headers() + headers, body)

    def send_error(self, error: ErrorResponse) -> None:
        """Send the error as the response, or as the last event of a stream whose head is already sent."""
        if self.has_begun:
            self.end(error.event())
        else:
            self.send_whole(error.status, error.body(), render_fields(error.headers().items()))

    def _render_headers(self) -> bytes:
        milliseconds = round((time.perf_counter() - self.started) * 1000)
        headers = render_headers(self.request_id, milliseconds)
        if self.organization:
            headers += b"openai-organization: %b\r\n" % self.organization.encode("ascii", "replace")
        headers += self.limit_headers
        if self.client_request_id:
            headers += render_fields([("x-client-request-id", self.client_request_id[:MAX_ECHOED_ID_CHARACTERS])])
        return headers


def render_headers(request_id: str, milliseconds: int) -> bytes:
    """Render the headers that every response has."""
    return (
        f"x-request-id: {format_public_id(request_id)}\r\nopenai-version: {OPENAI_VERSION}\r\n"
        f"openai-processing-ms: {milliseconds}\r\n"
    ).encode("ascii")


def render_error(request_id: str, error: ErrorResponse) -> tuple[bytes, bytes]:
    """Render the response to what is not a valid HTTP request, as (header block, body)."""
    headers: Mapping[str, str] = error.headers()
    return render_headers(request_id, 0) + render_fields(headers.items()), error.body()
