"""Serves the metrics of all processes on one port: `GET /metrics`.

The processes write their metrics to files in PROMETHEUS_MULTIPROC_DIR (multiprocess mode of prometheus_client); `up`
adds the number of restarts of each process.
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

RestartCounts = Callable[[], Mapping[str, int]]  # returns process name → restarts


class _RestartCollector(Collector):
    def __init__(self, restarts: RestartCounts) -> None:
        self.restarts = restarts

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily("console_process_restarts", "Times a process was restarted.", labels=["process"])
        for name, count in self.restarts().items():
            family.add_metric([name], count)
        yield family


def clear_metrics_folder(folder: Path) -> None:
    """Create the folder, or remove the metrics of an earlier run, so that all counters start at zero."""
    folder.mkdir(exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink()


def remove_gauges_of_ended_processes(folder: Path) -> None:
    """Remove live-mode gauges of ended processes; each process has its own file, `gauge_live…_<pid>.db`."""
    for file in folder.glob("gauge_live*_*.db"):
        if not Path("/proc", file.stem.rpartition("_")[2]).exists():
            file.unlink(missing_ok=True)


async def serve_metrics(host: str, port: int, folder: Path, restarts: RestartCounts) -> web.AppRunner:
    """Start the endpoint; it listens until the returned runner is cleaned up."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
    registry.register(_RestartCollector(restarts))

    async def handle_metrics(_: web.Request) -> web.Response:
        remove_gauges_of_ended_processes(folder)
        body = await asyncio.to_thread(generate_latest, registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.router.add_get("/metrics", handle_metrics)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port, reuse_address=True, shutdown_timeout=0.5).start()
    return runner
