"""Calls to replicas: one connection pool, bytes in, bytes out.

`Unreached` means that nothing of an answer has arrived, so the request may be sent to another replica. After the first
byte there is only `Lost`.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp

from gateway.config import Config

FORWARDED = ("x-correlation-id", "x-session-affinity", "accept")
# Below the keep-alive time of common ASGI servers (5 s), so that a reused connection is hardly ever a closed one.
KEEP_ALIVE_SECONDS = 2.0
READ_BYTES = 256 * 1024
ANSWER_BYTES = 64 * 1024 * 1024


class Unreached(Exception):
    """The replica died before the first byte of its answer."""


class Refused(Unreached):
    """Nobody listens at the replica's address: it has seen nothing of the request, and saying so took no time."""


class Lost(Exception):
    """The answer ended in the middle."""


class TooSlow(Exception):
    """The replica sent nothing for the upstream limit, before its first byte."""


class Answering:
    """An answer that has begun: its status, its kind, and its first bytes already here."""

    def __init__(self, response: aiohttp.ClientResponse, first: bytes) -> None:
        self._response = response
        self._first = first
        self.status = response.status
        self.content_type = response.headers.get("content-type", "")

    @property
    def is_stream(self) -> bool:
        return self.content_type.lower().startswith("text/event-stream")

    async def chunks(self) -> AsyncIterator[bytes]:
        """Bytes as they arrive; not read ahead of whoever takes them beyond the socket's buffers. Raises Lost."""
        if self._first:
            yield self._first
        try:
            while chunk := await self._response.content.readany():
                yield chunk
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Lost(str(error)) from error

    async def whole(self) -> bytes:
        """Raises Lost, also for an answer that is longer than any could be."""
        parts, size = [], 0
        async for chunk in self.chunks():
            parts.append(chunk)
            size += len(chunk)
            if size > ANSWER_BYTES:
                raise Lost("the answer is too long")
        return b"".join(parts)

    async def finish(self) -> None:
        """Give an ended stream a moment to close its framing, so that the connection can be used again."""
        try:
            async with asyncio.timeout(1):
                while await self._response.content.readany():
                    continue
        except (aiohttp.ClientError, OSError, TimeoutError):
            self._response.close()


class Upstream:
    """The HTTP client of this process; made inside a running loop."""

    def __init__(self, config: Config) -> None:
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=config.connect_seconds, sock_read=config.upstream_seconds
        )
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS)
        self._session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=connector,
            timeout=timeout,
            auto_decompress=False,
            read_bufsize=READ_BYTES,
        )

    async def close(self) -> None:
        await self._session.close()

    @asynccontextmanager
    async def post(self, address: str, path: str, body: bytes, headers: Mapping[str, str]) -> AsyncIterator[Answering]:
        """The answer of a replica once its first byte is here; leaving the block early cancels it there. Raises
        Unreached (or its kind Refused) or TooSlow."""
        try:
            response = await self._session.post(
                f"http://{address}{path}", data=body, headers=headers, allow_redirects=False
            )
        except aiohttp.ServerTimeoutError as error:
            raise _slow(error) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _lost_before(error) from error
        async with response:
            try:
                first = await response.content.readany()
            except aiohttp.ServerTimeoutError as error:
                raise TooSlow(str(error)) from error
            except (aiohttp.ClientError, OSError) as error:
                raise Unreached(str(error)) from error
            if not first and response.status == 200:
                raise Unreached("the replica closed its answer before the first byte")
            yield Answering(response, first)


def _lost_before(error: aiohttp.ClientError | OSError) -> Unreached:
    os_error = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else None
    return Refused(str(error)) if os_error and os_error.errno == errno.ECONNREFUSED else Unreached(str(error))


def _slow(error: aiohttp.ServerTimeoutError) -> Exception:
    is_connect = isinstance(error, aiohttp.ConnectionTimeoutError)
    return Unreached(str(error)) if is_connect else TooSlow(str(error))


def headers_for(request_id: str, given: Mapping[str, str]) -> dict[str, str]:
    """What a replica is told: the ledger's id of the request, so that its log can be held against the ledger; never
    the key; and no encoding, since the bytes are read on their way."""
    kept = {name: given[name] for name in FORWARDED if name in given}
    own = {"content-type": "application/json", "accept-encoding": "identity", "x-request-id": request_id}
    return kept | own
