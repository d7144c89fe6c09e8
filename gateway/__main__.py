"""`python -m gateway`: serves until SIGTERM or SIGINT, drains and exits with 0."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Generator

import uvicorn

from gateway.lifecycle import Gateway
from gateway.routes import Application
from gateway.settings import InvalidSetting, read_settings

SETTLE_SECONDS = 5  # for open requests to end after the drain limit


class Server(uvicorn.Server):
    """uvicorn server whose stop signals also drain the gateway."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway) -> None:
        super().__init__(config)
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
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # `manage.py up` prints the address
    try:
        settings = read_settings(os.environ)
    except InvalidSetting as error:
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
