"""The five processes of the product, as programs: their argv, their environment and how each says that it is ready.

web and gateway answer over HTTP; worker, beat and watch touch `$CONSOLE_READY_FILE`.
"""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from console import env
from console.machine.program import Program

WORKER_PROCESSES = 2
CELERY = (sys.executable, "-m", "celery", "-A", "console", "--quiet")


def all_of(environment: env.Environment, variables: Mapping[str, str], run_folder: Path) -> dict[str, Program]:
    """The programs by name, in the order in which they are started."""
    host, ports = environment.host, (environment.console_port, environment.gateway_port)
    web = (
        sys.executable, "-m", "uvicorn", "console.asgi:application", "--host", host, "--port", str(ports[0]),
        "--log-level", "warning", "--no-access-log", "--no-server-header", "--timeout-graceful-shutdown", "1",
    )  # fmt: skip
    worker = (
        *CELERY, "worker", "--concurrency", str(WORKER_PROCESSES), "--loglevel", "WARNING",
        "--without-gossip", "--without-mingle", "--without-heartbeat",
    )  # fmt: skip
    # In memory: the schedule is code, and a file could be half-written when beat is killed.
    beat = (*CELERY, "beat", "--loglevel", "WARNING", "--scheduler", "celery.beat:Scheduler", "--pidfile", "")
    commands: dict[str, tuple[str, ...]] = {
        "gateway": (sys.executable, "-m", "gateway"),
        "web": web,
        "worker": worker,
        "beat": beat,
        "watch": (sys.executable, str(env.ROOT / "manage.py"), "watch"),
    }
    reachable = environment.reachable_host
    probes = {
        "gateway": lambda: responds(reachable, ports[1], "/readyz", below=300),
        "web": lambda: responds(reachable, ports[0], "/", below=500),
    }
    return {
        name: _program(name, command, probes.get(name), variables, run_folder) for name, command in commands.items()
    }


def _program(
    name: str,
    command: tuple[str, ...],
    probe: Callable[[], bool] | None,
    variables: Mapping[str, str],
    run_folder: Path,
) -> Program:
    ready = run_folder / f"{name}.ready"
    ready.unlink(missing_ok=True)
    own = {**variables, "CONSOLE_PROCESS": name, "CONSOLE_READY_FILE": str(ready), "PYTHONUNBUFFERED": "1"}
    return Program(name, command, probe or ready.exists, environment=own, folder=env.ROOT)


def one_off(name: str, variables: Mapping[str, str], *arguments: str) -> Program:
    """`manage.py` with `arguments`, run once."""
    command = (sys.executable, str(env.ROOT / "manage.py"), *arguments)
    own = {**variables, "CONSOLE_PROCESS": name, "PYTHONUNBUFFERED": "1"}
    return Program(name, command, lambda: True, environment=own, folder=env.ROOT)


def responds(host: str, port: int, path: str, *, below: int) -> bool:
    """Whether a GET of `path` is answered with a status below `below`."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < below
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def note_ready() -> None:
    """Called by a process of ours once it does its work."""
    if path := os.environ.get("CONSOLE_READY_FILE"):
        Path(path).touch()
