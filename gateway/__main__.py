"""`python -m gateway`: serves until SIGTERM or SIGINT, drains and exits with 0."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys

import uvloop

from gateway.lifecycle import Gateway
from gateway.server import GatewayServer, bind_listener, raise_file_limit
from gateway.settings import InvalidSetting, Settings, read_settings


async def serve(settings: Settings, listener: socket.socket) -> None:
    """Serve until a stop signal."""
    server = GatewayServer(Gateway(settings))
    stopping = asyncio.Event()

    def stop() -> None:
        server.drain()
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await server.start(listener)
    await stopping.wait()
    await server.stop()


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    try:
        settings = read_settings(os.environ)
    except InvalidSetting as error:
        sys.exit(f"{error}")
    try:
        listener = bind_listener(settings)
    except OSError as error:
        sys.exit(f"The gateway cannot listen on {settings.host}:{settings.port}: {error}")
    raise_file_limit()
    uvloop.run(serve(settings, listener))


if __name__ == "__main__":
    main()
