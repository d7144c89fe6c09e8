"""Runs the simulator under uvicorn: it initializes for the configured time, then serves, with the configured fault."""

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

from deployments.engines.simulator.generator import Generator, Pace
from deployments.engines.simulator.http_api import HttpApi
from deployments.engines.simulator.metrics import Metrics
from deployments.engines.simulator.request_log import RequestLog, log_line, now
from deployments.engines.simulator.served_models import Adapter, ServedModels

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

    `grace_seconds`: how long requests in flight may continue after SIGTERM; `root`: the source of the model.
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
    """Serve until SIGTERM. Then no connection is accepted; requests in flight end or are cut off after the grace."""
    # Not uvloop: it accepts one connection per loop iteration, so with hundreds of streams new ones wait for seconds.
    asyncio.run(_serve(serving, RequestLog(environment.get("CONSOLE_REPLICA_DIR"))))


async def _serve(serving: Serving, request_log: RequestLog) -> None:
    metrics = Metrics(serving.served_names[0])
    created = int(now().timestamp())
    served = ServedModels(serving.served_names, serving.max_model_len, created, serving.adapters, serving.root)
    app = HttpApi(served, Generator(serving.pace, metrics, request_log), metrics)
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
    initialization = asyncio.ensure_future(_initialize(serving, app))
    await server.serve()
    initialization.cancel()
    await app.abort_all()
    log_line("Stopped.")


class _Server(uvicorn.Server):
    """uvicorn with its own SIGTERM handling: requests that outlast the grace are cut off as by a crash, not answered
    with an error, so that a gateway may retry those that had not begun. All are logged before the program ends."""

    def __init__(self, config: uvicorn.Config, grace_seconds: float) -> None:
        super().__init__(config)
        self._grace_seconds = grace_seconds

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        log_line("Stopping.")
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        cut_off = asyncio.get_running_loop().call_later(self._grace_seconds, self._cut_off)
        await super().shutdown(sockets)
        cut_off.cancel()

    def _cut_off(self) -> None:
        log_line(f"Cutting off {len(self.server_state.connections)} connections.", "WARNING")
        for connection in list(self.server_state.connections):
            connection.transport.abort()


async def _initialize(serving: Serving, app: HttpApi) -> None:
    """Initialize, become ready, and fail as configured."""
    names = ", ".join(serving.served_names)
    sizes = f"{serving.gpu_count} GPU(s), context length {serving.max_model_len} tokens"
    log_line(f"Simulated engine for {names}: {sizes}.")
    for adapter in serving.adapters:
        log_line(f"Adapter {adapter.name} from {adapter.path} (simulated).")
    for step in STEPS:
        log_line(f"{step} (simulated) ...")
        await asyncio.sleep(serving.initialize_seconds / len(STEPS))
    match serving.fail:
        case "initialize":
            _die("Engine core initialization failed. See root cause above.")
        case "out_of_memory":
            _die(NO_MEMORY)
        case "never_healthy":
            log_line("Initialized, but the health probe keeps answering 503.", "WARNING")
            return
    app.ready.set()
    log_line(f"Ready in {serving.initialize_seconds:g} s, serving on http://{serving.host}:{serving.port}")
    if serving.fail == "crash":
        await app.probed.wait()
        await asyncio.sleep(CRASH_SECONDS)
        _die("Engine core died unexpectedly.")


def _die(last_words: str) -> NoReturn:
    log_line(last_words, "ERROR")
    os._exit(1)
