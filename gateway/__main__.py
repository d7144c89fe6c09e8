"""`python -m gateway`: serve until SIGTERM or SIGINT, drain, exit 0."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Generator

import uvicorn

from gateway import config
from gateway.app import Gateway
from gateway.asgi import Application

SETTLE_SECONDS = 5


class Server(uvicorn.Server):
    """uvicorn, with a stop signal that begins the drain first."""

    def __init__(self, settings: uvicorn.Config, gateway: Gateway) -> None:
        super().__init__(settings)
        self._gateway = gateway

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        self._gateway.drain()
        self.should_exit = True


def main() -> None:
    """Exit 2 with one line when a setting cannot be used."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # where it listens is said by whoever started it
    try:
        settings = config.read(os.environ)
    except config.InvalidSetting as error:
        sys.exit(f"{error}")
    gateway = Gateway(settings)
    Server(
        uvicorn.Config(
            Application(gateway),
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="on",
            access_log=False,
            server_header=False,
            log_config=None,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=int(settings.drain_seconds) + SETTLE_SECONDS,
        ),
        gateway,
    ).run()


if __name__ == "__main__":
    main()
