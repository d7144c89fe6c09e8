"""A proxy in front of Redis that can hold commands back, cut replies into bytes, and close connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class StoreProxy:
    """`held` is set once a chunk with the bytes `hold` has arrived: it and what follows wait for `release`.

    With `cuts_replies` every byte of a reply arrives on its own.
    """

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self.url = ""
        self.hold = b""
        self.cuts_replies = False
        self.held, self.released = asyncio.Event(), asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def release(self) -> None:
        self.released.set()

    def close_connections(self) -> None:
        for writer in self._writers:
            writer.close()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._writers |= {writer, upstream_writer}
        for copy in (self._forward(reader, upstream_writer), self._answer(upstream_reader, writer)):
            task = asyncio.create_task(copy)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pending = b""
        reading = asyncio.create_task(reader.read(65536))
        released = asyncio.create_task(self.released.wait())
        while True:
            await asyncio.wait({reading, released} if pending else {reading}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                if not reading.result():  # the client has given up: what is held is lost
                    break
                pending += reading.result()
                reading = asyncio.create_task(reader.read(65536))
            if self.hold and self.hold in pending and not self.released.is_set():
                self.held.set()
                continue
            writer.write(pending)
            pending = b""
        released.cancel()
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if not self.cuts_replies:
                writer.write(data)
                continue
            for number in range(len(data)):
                writer.write(data[number : number + 1])
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()

    async def stop(self) -> None:
        self.close_connections()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def proxied(target: str) -> AsyncIterator[StoreProxy]:
    """Serve a proxy of the Redis at the URL `target`; its `url` has the same database and password."""
    proxy = StoreProxy(target)
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    parts = urlsplit(target)
    credentials = parts.netloc.rpartition("@")[0]
    proxy.url = parts._replace(netloc=f"{credentials}@127.0.0.1:{port}").geturl()
    try:
        yield proxy
    finally:
        server.close()
        await proxy.stop()
