"""The server of a gateway process: listens, and drains and stops on a signal."""

from __future__ import annotations

import asyncio
import resource
import socket

from gateway.forwarded_headers import CLIENT_FIELDS
from gateway.http.clients import ClientEndpoint, ClientLimits
from gateway.lifecycle import Gateway
from gateway.routes import Router
from gateway.settings import Settings

SETTLE_SECONDS = 5.0  # for open requests to end after the drain limit


class GatewayServer:
    """Call `start` inside the running loop, `drain` on every stop signal, and `stop` last."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._router = Router(gateway)
        self._endpoint: ClientEndpoint | None = None
        self._listener_due = asyncio.Event()  # set when the listener must close

    async def start(self, listener: socket.socket) -> None:
        await self._gateway.start()
        self._endpoint = ClientEndpoint(
            _build_limits(self._gateway.settings),
            CLIENT_FIELDS,
            self._router.start_exchange,
            self._router.render_refusal,
        )
        await self._endpoint.listen(listener)
        if self._gateway.settings.ready_file:
            self._gateway.settings.ready_file.touch()

    def drain(self) -> None:
        """Become not ready, and accept connections for `lame_duck_seconds` more, until load balancers have noticed. A
        second call ends the drain at once."""
        if self._gateway.is_draining:
            self._listener_due.set()
        else:
            asyncio.get_running_loop().call_later(self._gateway.settings.lame_duck_seconds, self._listener_due.set)
        self._gateway.drain()

    async def stop(self) -> None:
        """Wait for the end of the lame-duck time, let open requests end, and stop the gateway."""
        await self._listener_due.wait()
        if self._endpoint:
            await self._endpoint.close(self._gateway.settings.drain_seconds + SETTLE_SECONDS)
        await self._gateway.wait_for_exchanges(SETTLE_SECONDS)
        await self._gateway.stop()


def bind_listener(settings: Settings) -> socket.socket:
    """Bind the address of the gateway without listening yet. Raises OSError.

    Several gateways share one port: the kernel distributes connections among the sockets that listen on it.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if settings.processes > 1:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((settings.host, settings.port))
    return listener


def raise_file_limit() -> None:
    """Allow as many open files as the system lets this process have; every connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _build_limits(settings: Settings) -> ClientLimits:
    return ClientLimits(
        connections=settings.connections,
        held_bytes=settings.held_bytes,
        head_seconds=settings.head_seconds,
        body_seconds=settings.upload_seconds,
        idle_seconds=settings.idle_seconds,
        stall_seconds=settings.client_stall_seconds,
    )
