"""Runs the simulator under uvicorn: initializes for as long as told, then serves, with the fault it was given."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

import uvicorn
import uvloop

from deployments.engines.simulator.app import App, Served
from deployments.engines.simulator.desk import Desk, Pace
from deployments.engines.simulator.gauges import Gauges
from deployments.engines.simulator.journal import Journal, now, say

SERVE_FAULTS = ("initialize", "out_of_memory", "crash", "never_healthy")
STREAMS_END_SECONDS = 3
CRASH_SECONDS = 1.0
STEPS = ("Loading model weights", "Allocating the KV cache", "Warming up")
NO_MEMORY = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.65 GiB "
    "of which 512.00 MiB is free. Including non-PyTorch memory, this process has 23.13 GiB memory in use. Of the "
    "allocated memory 22.61 GiB is allocated by PyTorch, and 98.35 MiB is reserved by PyTorch but unallocated."
)


@dataclass(frozen=True)
class Serving:
    """The options of `serve`. Seconds; `fail` is one of SERVE_FAULTS or None."""

    host: str
    port: int
    served_names: tuple[str, ...]
    initialize_seconds: float
    pace: Pace
    max_model_len: int
    gpu_count: int = 1
    fail: str | None = None


def serve(serving: Serving, environment: Mapping[str, str]) -> None:
    """Serve until SIGTERM; open streams then have STREAMS_END_SECONDS."""
    uvloop.run(_serve(serving, Journal(environment.get("CONSOLE_REPLICA_DIR"))))


async def _serve(serving: Serving, journal: Journal) -> None:
    figures = Gauges(serving.served_names[0])
    served = Served(serving.served_names, serving.max_model_len, int(now().timestamp()))
    app = App(served, Desk(serving.pace, figures, journal), figures)
    config = uvicorn.Config(
        app,
        host=serving.host,
        port=serving.port,
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STREAMS_END_SECONDS,
    )
    server = _Server(config)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
    life = asyncio.ensure_future(_live(serving, app))
    await server.serve()
    life.cancel()
    await app.settle()
    say("Stopped.")


class _Server(uvicorn.Server):
    """uvicorn, but SIGTERM is ours: every request that was cut off is written down before the program ends."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        say("Stopping.")
        self.should_exit = True


async def _live(serving: Serving, app: App) -> None:
    """Initialize, become ready, and fail where told to."""
    names = ", ".join(serving.served_names)
    say(f"Simulated engine for {names}: {serving.gpu_count} GPU(s), context length {serving.max_model_len} tokens.")
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
