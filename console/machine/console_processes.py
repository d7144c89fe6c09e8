"""The processes of the console (gateway, web, workers, beat, watch): their commands, environments and readiness probes.

web and the first gateway are probed over HTTP; other gateways, workers, beat and watch create `$CONSOLE_READY_FILE`.
"""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from console import env
from console.machine.process_spec import ProcessSpec
from console.queues import QUEUES_BY_WORKER

# Reconcile passes of two batches run at a time. The other workers have no pool, which saves memory.
POOLS = {"worker": ("prefork", 2)}
ONE_AT_A_TIME = ("solo", 1)
CELERY = (sys.executable, "-m", "celery", "-A", "console", "--quiet")


def build_console_processes(
    environment: env.Environment, variables: Mapping[str, str], run_folder: Path
) -> dict[str, ProcessSpec]:
    """Build the processes by name, in start order."""
    host, ports = environment.host, (environment.console_port, environment.gateway_port)
    web = (
        sys.executable, "-m", "uvicorn", "console.asgi:application", "--host", host, "--port", str(ports[0]),
        "--log-level", "warning", "--no-access-log", "--no-server-header", "--timeout-graceful-shutdown", "1",
        # From these the address and scheme of the client are taken from X-Forwarded-For and X-Forwarded-Proto.
        "--proxy-headers", "--forwarded-allow-ips", ",".join(environment.trusted_proxies),
    )  # fmt: skip
    # In memory: the schedule is defined in code, and a killed beat could leave a corrupt schedule file.
    beat = (*CELERY, "beat", "--loglevel", "WARNING", "--scheduler", "celery.beat:Scheduler", "--pidfile", "")
    commands: dict[str, tuple[str, ...]] = {
        **{name: (sys.executable, "-m", "gateway") for name in list_gateways(environment)},
        "web": web,
        **{name: _build_worker_command(name, queues) for name, queues in QUEUES_BY_WORKER.items()},
        "beat": beat,
        "watch": (sys.executable, str(env.ROOT / "manage.py"), "watch"),
    }
    reachable = environment.reachable_host
    probes = {
        "gateway": lambda: is_responding(reachable, ports[1], "/readyz", below=300),
        "web": lambda: is_responding(reachable, ports[0], "/", below=500),
    }
    return {
        name: _build_process(name, command, probes.get(name), variables, run_folder)
        for name, command in commands.items()
    }


def list_gateways(environment: env.Environment) -> list[str]:
    """Return the names of the gateway processes, which share one port."""
    return ["gateway", *(f"gateway-{number}" for number in range(2, environment.gateway_processes + 1))]


def _build_worker_command(name: str, queues: Iterable[str]) -> tuple[str, ...]:
    pool, concurrency = POOLS.get(name, ONE_AT_A_TIME)
    return (
        *CELERY, "worker", "--queues", ",".join(queues), "--hostname", f"{name}@%h",
        "--pool", pool, "--concurrency", str(concurrency), "--loglevel", "WARNING",
        "--without-gossip", "--without-mingle", "--without-heartbeat",
    )  # fmt: skip


def _build_process(
    name: str,
    command: tuple[str, ...],
    probe: Callable[[], bool] | None,
    variables: Mapping[str, str],
    run_folder: Path,
) -> ProcessSpec:
    ready = run_folder / f"{name}.ready"
    ready.unlink(missing_ok=True)
    own = {**variables, "CONSOLE_PROCESS": name, "CONSOLE_READY_FILE": str(ready), "PYTHONUNBUFFERED": "1"}
    return ProcessSpec(name, command, probe or ready.exists, environment=own, folder=env.ROOT)


def build_management_process(name: str, variables: Mapping[str, str], *arguments: str) -> ProcessSpec:
    """Build a process that runs `manage.py` with `arguments` once."""
    command = (sys.executable, str(env.ROOT / "manage.py"), *arguments)
    own = {**variables, "CONSOLE_PROCESS": name, "PYTHONUNBUFFERED": "1"}
    return ProcessSpec(name, command, lambda: True, environment=own, folder=env.ROOT)


def is_responding(host: str, port: int, path: str, *, below: int) -> bool:
    """Whether a GET of `path` returns a status below `below`."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < below
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def mark_ready() -> None:
    """Create the ready file of this process, which `up` waits for."""
    if path := os.environ.get("CONSOLE_READY_FILE"):
        Path(path).touch()
