"""What the connections to all clients share: the listener, limits, deadlines, and bytes computed once for all."""

from __future__ import annotations

import asyncio
import email.utils
import http.client
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass

from gateway.http.client_connection import ClientConnection, ClientResponse, Exchange
from gateway.http.heads import FieldNames, Refusal, RequestHead

log = logging.getLogger(__name__)

SWEEP_SECONDS = 0.25
BACKLOG = 4096


@dataclass(frozen=True)
class ClientLimits:
    """Limits of connections to clients; durations are in seconds.

    `held_bytes` limits what all connections together keep of requests, from the first byte of an incomplete head to the
    end of the response. `unsent_bytes` is how much of a response is kept for a slow reader before `is_full`.
    """

    connections: int = 10_000
    held_bytes: int = 1024 * 1024 * 1024
    head_seconds: float = 10.0
    body_seconds: float = 120.0
    idle_seconds: float = 75.0
    stall_seconds: float = 120.0
    unsent_bytes: int = 64 * 1024


class ClientEndpoint:
    """Accepts connections and sweeps over their deadlines; made inside the running loop.

    `start_exchange` gets every request. `render_refusal` gives (header block, body) of the response to what is not a
    request. `now` is at most SWEEP_SECONDS ahead of the loop's clock, so that no deadline that is computed from it is
    early.
    """

    def __init__(
        self,
        limits: ClientLimits,
        field_names: FieldNames,
        start_exchange: Callable[[RequestHead, ClientResponse], Exchange],
        render_refusal: Callable[[Refusal], tuple[bytes, bytes]],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.limits = limits
        self.field_names = field_names
        self.start_exchange = start_exchange
        self.render_refusal = render_refusal
        self.now = 0.0
        self.held_bytes = 0
        self.is_draining = False
        self._connections: set[ClientConnection] = set()
        self._server: asyncio.Server | None = None
        self._emptied: asyncio.Future[None] | None = None
        self._response_starts: dict[int, bytes] = {}
        self._date_second = 0
        self._sweep_handle: asyncio.TimerHandle | None = None
        self._sweep()

    def __len__(self) -> int:
        return len(self._connections)

    async def listen(self, listener: socket.socket) -> None:
        self._server = await self.loop.create_server(lambda: ClientConnection(self), sock=listener, backlog=BACKLOG)

    async def close(self, seconds: float) -> None:
        """Stop listening, close idle connections, wait until the others have ended, and abort them after `seconds`."""
        if self._server:
            self._server.close()
        self.is_draining = True
        self._emptied = self.loop.create_future()
        for connection in list(self._connections):
            connection.drain()
        if self._connections:
            await asyncio.wait([self._emptied], timeout=seconds)
        for connection in list(self._connections):
            connection.abort()
        if self._sweep_handle:
            self._sweep_handle.cancel()

    # For the connections

    def add(self, connection: ClientConnection) -> bool:
        """Register a connection; returns whether there are too many."""
        self._connections.add(connection)
        return len(self._connections) > self.limits.connections

    def remove(self, connection: ClientConnection) -> None:
        self._connections.discard(connection)
        if self._emptied and not self._connections and not self._emptied.done():
            self._emptied.set_result(None)

    def hold(self, size: int) -> bool:
        """Count `size` more bytes that are kept; returns whether that many may be kept."""
        self.held_bytes += size
        return size <= 0 or self.held_bytes <= self.limits.held_bytes

    def get_response_start(self, status: int) -> bytes:
        """Return the status line and the headers that all responses of this second have in common."""
        start = self._response_starts.get(status)
        return start if start is not None else self._render_response_start(status)

    def _render_response_start(self, status: int) -> bytes:
        phrase = http.client.responses.get(status, "Unknown")
        date = email.utils.formatdate(usegmt=True)
        start = self._response_starts[status] = f"HTTP/1.1 {status} {phrase}\r\ndate: {date}\r\n".encode()
        return start

    def _sweep(self) -> None:
        self._sweep_handle = self.loop.call_later(SWEEP_SECONDS, self._sweep)
        now = self.loop.time()
        self.now = now + SWEEP_SECONDS
        if int(now) != self._date_second:
            self._date_second = int(now)
            self._response_starts = {}
        for connection in [connection for connection in self._connections if connection.deadline <= now]:
            try:
                connection.expire()
            except Exception:
                log.exception("A deadline of a client's connection cannot be acted on; the connection is closed")
                connection.abort()
