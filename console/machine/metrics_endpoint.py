"""Serves the metrics of all processes of this machine on one port: `GET /metrics`, and nothing else.

The processes write to files in PROMETHEUS_MULTIPROC_DIR (prometheus_client's multiprocess mode); `up` adds how often
it had to restart each of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

Restarts = Callable[[], Mapping[str, int]]


class _RestartCounts(Collector):
    def __init__(self, restarts: Restarts) -> None:
        self.restarts = restarts

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily("console_process_restarts", "Times a process was restarted.", labels=["process"])
        for name, count in self.restarts().items():
            family.add_metric([name], count)
        yield family


def prepare_folder(folder: Path) -> None:
    """An empty folder for a new run: counters begin at zero with the processes that count."""
    folder.mkdir(exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink()


def forget_the_dead(folder: Path) -> None:
    """Drop what ended processes said of the present: gauges in live mode, one file a process (…_<pid>.db)."""
    for file in folder.glob("gauge_live*_*.db"):
        if not Path("/proc", file.stem.rpartition("_")[2]).exists():
            file.unlink(missing_ok=True)


async def serve(host: str, port: int, folder: Path, restarts: Restarts) -> web.AppRunner:
    """Listen until the returned runner is cleaned up."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
    registry.register(_RestartCounts(restarts))

    async def metrics(_: web.Request) -> web.Response:
        forget_the_dead(folder)
        body = await asyncio.to_thread(generate_latest, registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.router.add_get("/metrics", metrics)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port, reuse_address=True, shutdown_timeout=0.5).start()
    return runner
