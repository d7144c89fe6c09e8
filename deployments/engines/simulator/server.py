"""Runs the simulator under uvicorn: initializes for as long as told, then serves, with the fault it was given."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

import uvicorn

from deployments.engines.simulator.app import App
from deployments.engines.simulator.desk import Desk, Pace
from deployments.engines.simulator.gauges import Gauges
from deployments.engines.simulator.journal import Journal, now, say
from deployments.engines.simulator.served import Adapter, Served

SERVE_FAULTS = ("initialize", "out_of_memory", "crash", "never_healthy")
CRASH_SECONDS = 1.0
STEPS = ("Loading model weights", "Allocating the KV cache", "Warming up")
NO_MEMORY = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.65 GiB "
    "of which 512.00 MiB is free. Including non-PyTorch memory, this process has 23.13 GiB memory in use. Of the "
    "allocated memory 22.61 GiB is allocated by PyTorch, and 98.35 MiB is reserved by PyTorch but unallocated."
)


@dataclass(frozen=True)
class Serving:
    """The options of `serve`. Seconds; `fail` is one of SERVE_FAULTS or None.

    `grace_seconds`: how long what is in flight may go on after SIGTERM; `root`: where the model came from.
    """

    host: str
    port: int
    served_names: tuple[str, ...]
    initialize_seconds: float
    pace: Pace
    max_model_len: int
    gpu_count: int = 1
    fail: str | None = None
    grace_seconds: float = 3.5
    adapters: tuple[Adapter, ...] = ()
    root: str = ""


def serve(serving: Serving, environment: Mapping[str, str]) -> None:
    """Serve until SIGTERM: nobody new is let in then, and what is in flight ends or is cut off after the grace."""
    # uvloop accepts one connection per turn of its loop: beside hundreds of streams newcomers would wait for seconds.
    asyncio.run(_serve(serving, Journal(environment.get("CONSOLE_REPLICA_DIR"))))


async def _serve(serving: Serving, journal: Journal) -> None:
    figures = Gauges(serving.served_names[0])
    created = int(now().timestamp())
    served = Served(serving.served_names, serving.max_model_len, created, serving.adapters, serving.root)
    app = App(served, Desk(serving.pace, figures, journal), figures)
    config = uvicorn.Config(
        app,
        host=serving.host,
        port=serving.port,
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
    )
    server = _Server(config, serving.grace_seconds)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
    life = asyncio.ensure_future(_live(serving, app))
    await server.serve()
    life.cancel()
    await app.settle()
    say("Stopped.")


class _Server(uvicorn.Server):
    """uvicorn, but SIGTERM is ours: what outlasts the grace is cut off as by a crash, never answered with an error, so
    that whoever sent what had not begun may send it elsewhere; all of it is written down before the program ends."""

    def __init__(self, config: uvicorn.Config, grace_seconds: float) -> None:
        super().__init__(config)
        self._grace_seconds = grace_seconds

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        say("Stopping.")
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        cut_off = asyncio.get_running_loop().call_later(self._grace_seconds, self._cut_off)
        await super().shutdown(sockets)
        cut_off.cancel()

    def _cut_off(self) -> None:
        say(f"Cutting off {len(self.server_state.connections)} connections.", "WARNING")
        for connection in list(self.server_state.connections):
            connection.transport.abort()


async def _live(serving: Serving, app: App) -> None:
    """Initialize, become ready, and fail where told to."""
    names = ", ".join(serving.served_names)
    say(f"Simulated engine for {names}: {serving.gpu_count} GPU(s), context length {serving.max_model_len} tokens.")
    for one in serving.adapters:
        say(f"Adapter {one.name} from {one.path} (simulated).")
    for step in STEPS:
        say(f"{step} (simulated) ...")
        await asyncio.sleep(serving.initialize_seconds / len(STEPS))
    match serving.fail:
        case "initialize":
            _die("Engine core initialization failed. See root cause above.")
        case "out_of_memory":
            _die(NO_MEMORY)
        case "never_healthy":
            say("Initialized, but the health probe keeps answering 503.", "WARNING")
            return
    app.ready.set()
    say(f"Ready in {serving.initialize_seconds:g} s, serving on http://{serving.host}:{serving.port}")
    if serving.fail == "crash":
        await app.probed.wait()
        await asyncio.sleep(CRASH_SECONDS)
        _die("Engine core died unexpectedly.")


def _die(last_words: str) -> NoReturn:
    say(last_words, "ERROR")
    os._exit(1)
