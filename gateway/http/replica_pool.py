"""Sends requests to replicas and keeps their connections for reuse, by address."""

from __future__ import annotations

import asyncio
import errno
import logging
from dataclasses import dataclass

from gateway.http.heads import FieldNames
from gateway.http.replica_connection import Failure, ReplicaConnection, ReplicaListener

log = logging.getLogger(__name__)

SWEEP_SECONDS = 0.25
MAX_REQUEST_STARTS = 4096


@dataclass(frozen=True)
class ReplicaLimits:
    """Durations in seconds. `silence_seconds` limits the time to the first byte and between two bytes.

    `keep_seconds` is shorter than the keep-alive of common servers (5 s), so that a reused connection is rarely closed
    by the other side.
    """

    connect_seconds: float = 5.0
    silence_seconds: float = 600.0
    keep_seconds: float = 2.0


class ReplicaExchange:
    """One request to a replica. After its end the methods have no effect."""

    __slots__ = ("_connecting", "_connection", "_listener")

    def __init__(self, listener: ReplicaListener) -> None:
        self._listener = listener
        self._connection: ReplicaConnection | None = None
        self._connecting: asyncio.Task[None] | None = None

    def pause(self) -> None:
        """Stop reading the response until `resume`."""
        if self._connection is not None and self._connection.listener is self._listener:
            self._connection.pause()

    def resume(self) -> None:
        if self._connection is not None and self._connection.listener is self._listener:
            self._connection.resume()

    def cancel(self) -> None:
        """Close the connection, which cancels the request at the replica; the listener is not called any more."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None and self._connection.listener is self._listener:
            self._connection.cancel()

    def start(self, connection: ReplicaConnection, head: bytes, body: bytes) -> None:
        self._connection, self._connecting = connection, None
        connection.send(head, body, self._listener)

    def connect(self, connecting: asyncio.Task[None]) -> None:
        self._connecting = connecting


def _parse_address(address: str) -> tuple[str, int]:
    """Split host:port; uvloop would connect to another port than one above 65535."""
    host, _, port = address.rpartition(":")
    if not 0 < int(port) < 65536:
        raise ValueError(f"There is no port {port}.")
    return host.strip("[]"), int(port)


class ReplicaPool:
    """The connections to all replicas; made inside the running loop.

    `now` is at most SWEEP_SECONDS ahead of the loop's clock, so that no deadline that is computed from it is early.
    """

    def __init__(self, limits: ReplicaLimits, field_names: FieldNames) -> None:
        self.limits = limits
        self.field_names = field_names
        self._loop = asyncio.get_running_loop()
        self._connections: set[ReplicaConnection] = set()
        self._idle: dict[str, list[ReplicaConnection]] = {}
        self._connecting: set[asyncio.Task[None]] = set()
        self._request_starts: dict[tuple[str, str], bytes] = {}
        self._is_closed = False
        self.now = 0.0
        self._sweep()

    def send(self, address: str, path: str, headers: bytes, body: bytes, listener: ReplicaListener) -> ReplicaExchange:
        """POST to `address` (host:port). `headers` are whole lines with CR LF; Host and Content-Length are added."""
        start = self._request_starts.get((address, path)) or self._render_start(address, path)
        head = b"%b%bcontent-length: %d\r\n\r\n" % (start, headers, len(body))
        exchange = ReplicaExchange(listener)
        idle = self._idle.get(address)
        while idle:
            connection = idle.pop()
            if self.now - connection.idle_since < self.limits.keep_seconds:
                exchange.start(connection, head, body)
                return exchange
            connection.close()
        connecting = self._loop.create_task(self._connect(exchange, address, head, body, listener))
        self._connecting.add(connecting)
        connecting.add_done_callback(self._connecting.discard)
        exchange.connect(connecting)
        return exchange

    def close(self) -> None:
        """Close all connections."""
        self._is_closed = True
        self._sweep_handle.cancel()
        for connecting in self._connecting:
            connecting.cancel()
        for connection in list(self._connections):
            connection.close()

    async def _connect(
        self, exchange: ReplicaExchange, address: str, head: bytes, body: bytes, listener: ReplicaListener
    ) -> None:
        try:
            host, port = _parse_address(address)
            async with asyncio.timeout(self.limits.connect_seconds):
                _, connection = await self._loop.create_connection(lambda: ReplicaConnection(self, address), host, port)
        except Exception as error:  # noqa: BLE001 - the listener is told, whatever it is
            is_refused = isinstance(error, OSError) and error.errno == errno.ECONNREFUSED
            reason = str(error) or "The connection was not accepted in time."
            listener.response_failed(Failure.REFUSED if is_refused else Failure.UNREACHABLE, reason)
        else:
            exchange.start(connection, head, body)

    def _render_start(self, address: str, path: str) -> bytes:
        if len(self._request_starts) >= MAX_REQUEST_STARTS:
            self._request_starts.clear()
        start = self._request_starts[address, path] = f"POST {path} HTTP/1.1\r\nhost: {address}\r\n".encode("ascii")
        return start

    def _sweep(self) -> None:
        self._sweep_handle = self._loop.call_later(SWEEP_SECONDS, self._sweep)
        now = self._loop.time()
        self.now = now + SWEEP_SECONDS
        for connection in list(self._connections):
            try:
                connection.expire(now)
            except Exception:
                log.exception("A deadline of the connection to %s cannot be acted on", connection.address)
        self._idle = {address: idle for address, idle in self._idle.items() if idle}

    # For the connections

    def add(self, connection: ReplicaConnection) -> None:
        self._connections.add(connection)

    def forget(self, connection: ReplicaConnection) -> None:
        self._connections.discard(connection)
        idle = self._idle.get(connection.address)
        if idle and connection in idle:
            idle.remove(connection)

    def keep(self, connection: ReplicaConnection) -> None:
        """Keep a connection whose response has ended for the next request."""
        if self._is_closed:
            connection.close()
            return
        connection.idle_since = self.now
        self._idle.setdefault(connection.address, []).append(connection)
