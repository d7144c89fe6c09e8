"""HTTP client for replicas: one connection pool per process, bytes in, bytes out.

`ReplicaUnreachable` means that no byte of a response has arrived, so the request may be sent to another replica. After
the first byte the only error is `ResponseLost`.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp

from gateway.settings import Settings

FORWARDED_HEADERS = ("x-correlation-id", "x-session-affinity", "accept")
# Shorter than the keep-alive of common ASGI servers (5 s), so that a reused connection is rarely closed by the peer.
KEEP_ALIVE_SECONDS = 2.0
READ_BUFFER_BYTES = 256 * 1024
MAX_RESPONSE_BYTES = 64 * 1024 * 1024


class ReplicaUnreachable(Exception):
    """The connection failed before the first byte of the response; the replica may have received the request."""


class ConnectionRefused(ReplicaUnreachable):
    """No process listens at the replica's address, so the request was not received."""


class ResponseLost(Exception):
    """The connection failed after the first byte of the response."""


class ReplicaTimeout(Exception):
    """The replica sent no first byte within `upstream_seconds`."""


class ReplicaResponse:
    """A response whose head and first bytes have arrived."""

    def __init__(self, response: aiohttp.ClientResponse, first: bytes) -> None:
        self._response = response
        self._first = first
        self.status = response.status
        self.content_type = response.headers.get("content-type", "")

    @property
    def is_stream(self) -> bool:
        return self.content_type.lower().startswith("text/event-stream")

    async def iterate_chunks(self) -> AsyncIterator[bytes]:
        """Yield bytes as they arrive, without reading ahead of the consumer. Raises ResponseLost."""
        if self._first:
            yield self._first
        try:
            while chunk := await self._response.content.readany():
                yield chunk
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ResponseLost(str(error)) from error

    async def read_whole(self) -> bytes:
        """Read the whole body. Raises ResponseLost, also for a body of more than MAX_RESPONSE_BYTES."""
        parts, size = [], 0
        async for chunk in self.iterate_chunks():
            parts.append(chunk)
            size += len(chunk)
            if size > MAX_RESPONSE_BYTES:
                raise ResponseLost("the response is too long")
        return b"".join(parts)

    async def finish(self) -> None:
        """Read the end of the chunked encoding after `[DONE]`, so that the connection can be reused."""
        try:
            async with asyncio.timeout(1):
                while await self._response.content.readany():
                    continue
        except (aiohttp.ClientError, OSError, TimeoutError):
            self._response.close()


class ReplicaClient:
    """The HTTP client of this process; must be created inside a running event loop."""

    def __init__(self, settings: Settings) -> None:
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=settings.connect_seconds, sock_read=settings.upstream_seconds
        )
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS)
        self._session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=connector,
            timeout=timeout,
            auto_decompress=False,
            read_bufsize=READ_BUFFER_BYTES,
        )

    async def close(self) -> None:
        await self._session.close()

    @asynccontextmanager
    async def post(
        self, address: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> AsyncIterator[ReplicaResponse]:
        """Send a request to `address` (host:port) and yield the response once its first byte has arrived.

        Leaving the block early closes the connection, which cancels the request at the replica. Raises
        ReplicaUnreachable, ConnectionRefused or ReplicaTimeout.
        """
        try:
            response = await self._session.post(
                f"http://{address}{path}", data=body, headers=headers, allow_redirects=False
            )
        except aiohttp.ConnectionTimeoutError as error:
            raise ReplicaUnreachable(str(error)) from error
        except aiohttp.ServerTimeoutError as error:
            raise ReplicaTimeout(str(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _classify_connection_error(error) from error
        async with response:
            try:
                first = await response.content.readany()
            except aiohttp.ServerTimeoutError as error:
                raise ReplicaTimeout(str(error)) from error
            except (aiohttp.ClientError, OSError) as error:
                raise ReplicaUnreachable(str(error)) from error
            if not first and response.status == 200:
                raise ReplicaUnreachable("the replica closed the connection before the first byte")
            yield ReplicaResponse(response, first)


def _classify_connection_error(error: aiohttp.ClientError | OSError) -> ReplicaUnreachable:
    os_error = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else None
    is_refused = os_error is not None and os_error.errno == errno.ECONNREFUSED
    return ConnectionRefused(str(error)) if is_refused else ReplicaUnreachable(str(error))


def build_headers(request_id: str, client_headers: Mapping[str, str]) -> dict[str, str]:
    """Build the headers of a request to a replica.

    The request id allows comparing the replica's log with usage events. The API key is never forwarded. Compression is
    disabled because the gateway reads the bytes that it forwards.
    """
    forwarded = {name: client_headers[name] for name in FORWARDED_HEADERS if name in client_headers}
    own = {"content-type": "application/json", "accept-encoding": "identity", "x-request-id": request_id}
    return forwarded | own
