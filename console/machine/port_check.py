"""Whether the ports of the console are free, asked before anything is started."""

from __future__ import annotations

import asyncio
import errno
import socket
import time

from console import env
from console.machine.datafolder import Unusable


async def check_ports(environment: env.Environment, seconds: float = 2.0) -> None:
    """Raises Unusable for a port that cannot be listened on; one that a dying process still holds gets a moment."""
    deadline = time.monotonic() + seconds
    for variable, port in (
        ("CONSOLE_PORT", environment.console_port),
        ("GATEWAY_PORT", environment.gateway_port),
        ("METRICS_PORT", environment.metrics_port),
    ):
        while reason := _refused(environment.host, port):
            if reason.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise Unusable(_port_line(environment.host, port, variable, reason))
            await asyncio.sleep(0.1)


def _refused(host: str, port: int) -> OSError | None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            return error
    return None


def _port_line(host: str, port: int, variable: str, reason: OSError) -> str:
    if isinstance(reason, socket.gaierror):
        return f"CONSOLE_HOST {host!r} is no address of this machine ({reason.strerror})."
    if reason.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is taken by another program. Stop it, or choose another port with {variable}."
    return f"Port {port} on {host} cannot be used ({reason.strerror}). Change {variable} or CONSOLE_HOST."
