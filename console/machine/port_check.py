"""Checks that the ports of the console are free before any process is started."""

from __future__ import annotations

import asyncio
import errno
import socket
import time

from console import env
from console.machine.lock_and_secrets import StartupError


async def check_ports(environment: env.Environment, seconds: float = 2.0) -> None:
    """Raise StartupError for a port that cannot be bound, after waiting up to `seconds` for it to become free."""
    deadline = time.monotonic() + seconds
    for variable, port in (
        ("CONSOLE_PORT", environment.console_port),
        ("GATEWAY_PORT", environment.gateway_port),
        ("METRICS_PORT", environment.metrics_port),
    ):
        while error := _try_to_bind(environment.host, port):
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise StartupError(_build_message(environment.host, port, variable, error))
            await asyncio.sleep(0.1)


def _try_to_bind(host: str, port: int) -> OSError | None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            return error
    return None


def _build_message(host: str, port: int, variable: str, error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"CONSOLE_HOST {host!r} is not an address of this machine ({error.strerror})."
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is taken by another program. Stop it, or choose another port with {variable}."
    return f"Port {port} on {host} cannot be used ({error.strerror}). Change {variable} or CONSOLE_HOST."
