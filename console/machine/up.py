"""`manage.py up`: starts and stops all processes of the console on this machine. This process does not load Django.

Start: lock and ports → PostgreSQL and Valkey → check that folder and database belong together → roles → gateway and
web, with migrations and initial data meanwhile → workers, beat, watch → run file. Stop, within STOP_SECONDS: gateway
(open streams get STREAM_SECONDS), beat, watch and workers → local replicas and web → databases.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Any

from console import env
from console.machine import (
    console_processes,
    installation_check,
    lock_and_secrets,
    metrics_endpoint,
    run_file,
    server_selection,
)
from console.machine.demo_credentials import read_demo_credentials
from console.machine.lock_and_secrets import StartupError
from console.machine.port_check import check_ports
from console.machine.private_files import create_folder
from console.machine.process_spec import ProcessSpec, ProcessStartFailed
from console.machine.startup_banner import build_banner
from console.machine.supervisor import SupervisedProcess, describe_exit
from console.machine.terminal_output import TerminalOutput
from console.queues import QUEUES_BY_WORKER

READY_SECONDS = 60.0
STREAM_SECONDS = 5.0
STOP_SECONDS = 9.0  # ten are promised; on a busy machine the end of this process itself takes a good part of one
DATABASE_STOP_SECONDS = 1.2
HURRIED_STOP_SECONDS = 2.5


def main(environment: env.Environment, output: TerminalOutput, *, adopt: bool = False) -> int:
    """Run until a stop signal; returns the exit code. Errors during the start are printed as one line.

    `adopt`: take this data folder for the database, whatever folder it had before.
    """
    os.umask(0o077)
    try:
        with lock_and_secrets.lock_folder(environment.data_dir):
            return asyncio.run(_run(environment, output, adopt))
    except (StartupError, ProcessStartFailed) as error:
        output.write(f"{error}\n")
        return 1


async def _run(environment: env.Environment, output: TerminalOutput, adopt: bool) -> int:
    console = Console(environment, output, adopt)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, console.request_stop)
    starting = asyncio.create_task(console.start())
    stop = asyncio.create_task(console.stop_requested.wait())
    try:
        await asyncio.wait({starting, stop}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await stop
        return 0
    finally:
        starting.cancel()
        stop.cancel()
        await asyncio.gather(starting, stop, return_exceptions=True)
        await console.stop()


class Console:
    """All processes of the console; `processes` is in start order."""

    def __init__(self, environment: env.Environment, output: TerminalOutput, adopt: bool) -> None:
        self.environment, self.output, self.adopt = environment, output, adopt
        self.processes: dict[str, SupervisedProcess] = {}
        self.stop_requested, self.hurry_requested = asyncio.Event(), asyncio.Event()
        self.is_announced = False
        self.is_database_ready = False
        self.variables: dict[str, str] = {}
        self.servers: server_selection.Servers | None = None
        self._open = AsyncExitStack()

    @property
    def data_dir(self) -> Path:
        return self.environment.data_dir

    def request_stop(self) -> None:
        """Stop; a second call shortens the stop."""
        if self.stop_requested.is_set():
            self.hurry_requested.set()
        self.stop_requested.set()

    async def start(self) -> None:
        started = time.monotonic()
        run_file.remove(self.data_dir)
        await check_ports(self.environment)
        secrets = lock_and_secrets.get_or_create_secrets(self.data_dir)
        self.output.write_console_line(f"Starting with the data folder {self.data_dir} …")
        self.servers = await server_selection.select_servers(self.environment, secrets)
        for note in self.servers.notes:
            self.output.write_console_line(note)
        await asyncio.gather(*(self._start(spec) for spec in self.servers.processes))
        if not self.adopt:
            await asyncio.to_thread(installation_check.check_installation, self.servers, self.data_dir)
        await asyncio.to_thread(server_selection.prepare_roles, self.servers, secrets)
        self.variables = self._build_variables(secrets)
        run_folder = self.data_dir / "run"
        create_folder(run_folder, 0o700)
        specs = console_processes.build_console_processes(self.environment, self.variables, run_folder)
        await self._serve_metrics()
        first = [
            asyncio.create_task(self._start(specs.pop(name)))
            for name in (*console_processes.list_gateways(self.environment), "web")
        ]
        await self._prepare_database()
        await asyncio.gather(*first, *(self._start(spec) for spec in specs.values()))
        self.is_announced = True
        self.write_run_file()
        self.output.write(build_banner(self.environment, self._read_demo_block(), time.monotonic() - started))

    async def _start(self, spec: ProcessSpec) -> None:
        process = self.processes[spec.name] = SupervisedProcess(spec, self.output, self.write_run_file)
        await process.start()
        await process.wait_until_ready(READY_SECONDS)

    async def _serve_metrics(self) -> None:
        folder = Path(self.variables["PROMETHEUS_MULTIPROC_DIR"])
        runner = await metrics_endpoint.serve_metrics(
            self.environment.host,
            self.environment.metrics_port,
            folder,
            lambda: {name: process.restarts for name, process in self.processes.items()},
        )
        self._open.push_async_callback(runner.cleanup)

    async def _prepare_database(self) -> None:
        assert self.servers
        variables = {**self.variables, "DATABASE_URL": self.servers.owner_url}
        spec = console_processes.build_management_process(
            "setup", variables, "provision", *(["--adopt"] if self.adopt else [])
        )
        process = await asyncio.create_subprocess_exec(*spec.command, stdout=PIPE, **spec.build_arguments())
        await self.output.relay_lines("setup", process.stdout)
        if code := await process.wait():
            raise ProcessStartFailed(
                f"The database could not be prepared: the step {describe_exit(code)}; see its lines above."
            )
        self.is_database_ready = True

    def _build_variables(self, secrets: lock_and_secrets.Secrets) -> dict[str, str]:
        """Build the environment variables of the console's processes."""
        assert self.servers
        metrics = self.data_dir / "run" / "metrics"
        create_folder(metrics, 0o700)
        metrics_endpoint.clear_metrics_folder(metrics)
        environment = self.environment
        return {
            **env.merge_dotenv(os.environ),
            "DJANGO_SETTINGS_MODULE": "console.settings",
            "CONSOLE_DATA_DIR": str(self.data_dir),
            "CONSOLE_HOST": environment.host,
            "CONSOLE_PORT": str(environment.console_port),
            "GATEWAY_PORT": str(environment.gateway_port),
            "METRICS_PORT": str(environment.metrics_port),
            "GATEWAY_PROCESSES": str(environment.gateway_processes),
            "CONSOLE_DEMO": str(int(environment.demo)),
            "DATABASE_URL": self.servers.database_url,
            "REDIS_URL": self.servers.redis_url,
            "CONSOLE_SECRET_KEY": environment.secret_key or secrets.secret_key,
            "CONSOLE_ENCRYPTION_KEYS": environment.encryption_keys or secrets.encryption_key,
            "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        }

    def _read_demo_block(self) -> dict[str, Any]:
        return run_file.build_demo_block(read_demo_credentials(self.data_dir))

    def write_run_file(self) -> None:
        """Write the run file, after the start and after every restart of a process."""
        if not self.is_announced or not self.servers:
            return
        content: dict[str, Any] = {
            "console_url": self.environment.console_url,
            "gateway_url": self.environment.gateway_url,
            "metrics_url": self.environment.metrics_url,
            "database_url": self.servers.database_url,
            "redis_url": self.servers.redis_url,
            "processes": {"up": os.getpid()}
            | {name: process.pid for name, process in self.processes.items() if process.pid},
        }
        demo = self._read_demo_block()
        run_file.write(self.data_dir, content | ({"demo": demo} if demo else {}))

    async def stop(self) -> None:
        """Stop everything. Local replicas are stopped and recorded as stopped; desired state is not changed."""
        if self.is_announced:
            self.output.write_console_line("Stopping; press Ctrl-C again to stop faster …")
        self.is_announced = False
        deadline = time.monotonic() + STOP_SECONDS
        stopping_replicas = asyncio.create_task(self._preload_replica_stop())
        await asyncio.gather(
            *(self._stop(name, 2.0) for name in ("beat", "watch", *QUEUES_BY_WORKER)),
            *(self._stop_gateway(name) for name in console_processes.list_gateways(self.environment)),
        )
        await asyncio.gather(self._stop("web", 1.5), self._finish_stopping_replicas(await stopping_replicas, deadline))
        await asyncio.gather(*(self._stop(name, DATABASE_STOP_SECONDS) for name in ("valkey", "postgresql")))
        await self._open.aclose()
        run_file.remove(self.data_dir)

    async def _stop(self, name: str, grace_seconds: float) -> None:
        if process := self.processes.get(name):
            await process.stop(grace_seconds=grace_seconds)

    async def _stop_gateway(self, name: str) -> None:
        """Stop a gateway; after STREAM_SECONDS a second SIGTERM ends open streams with an error event."""
        gateway = self.processes.get(name)
        if not gateway:
            return
        gateway.is_stopping = True
        gateway.send_signal(signal.SIGTERM)
        ended = asyncio.create_task(gateway.wait_for_end(STREAM_SECONDS))
        hurried = asyncio.create_task(self.hurry_requested.wait())
        await asyncio.wait({ended, hurried}, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        await gateway.stop(grace_seconds=1.5)
        await ended

    async def _preload_replica_stop(self) -> asyncio.subprocess.Process | None:
        """Start the command that stops replicas; it loads Django while streams end, then waits for a line on stdin."""
        if not self.is_database_ready:
            return None
        spec = console_processes.build_management_process("setup", self.variables, "stop_local_replicas")
        arguments = spec.build_arguments() | {"stdin": PIPE, "stdout": PIPE, "stderr": STDOUT}
        return await asyncio.create_subprocess_exec(*spec.command, **arguments)

    async def _finish_stopping_replicas(self, process: asyncio.subprocess.Process | None, deadline: float) -> None:
        if not process:
            return
        seconds = deadline - DATABASE_STOP_SECONDS - time.monotonic()
        assert process.stdin
        process.stdin.write(b"go\n")
        relay = self.output.relay_lines("setup", process.stdout)
        try:
            await asyncio.wait_for(
                relay, min(seconds, HURRIED_STOP_SECONDS) if self.hurry_requested.is_set() else seconds
            )
        except TimeoutError:
            self.output.write_console_line("Replicas did not stop in time; the next start finds those that are left.")
            process.kill()
        await process.wait()
