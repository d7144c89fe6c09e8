"""`manage.py up`: the whole product on this machine, from the first start to the last stamp.

Start: data folder and ports → PostgreSQL and Valkey → roles → migrations and first data → gateway, web, worker, beat,
watch → run file. Stop, within STOP_SECONDS: gateway (open streams get STREAM_SECONDS) with beat, watch and worker,
then replicas are stamped stopped, web, then the databases. No Django in this process.
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
from console.machine import datafolder, exposition, programs, runfile, servers
from console.machine.datafolder import Unusable
from console.machine.embedded import make_folder
from console.machine.output import Output
from console.machine.ports import check_ports
from console.machine.program import Program, ServerFailed
from console.machine.supervisor import Child, ending
from console.machine.welcome import welcome

READY_SECONDS = 60.0
STREAM_SECONDS = 5.0
STOP_SECONDS = 9.5
DATABASE_STOP_SECONDS = 1.2
HURRIED_SECONDS = 2.5


def main(environment: env.Environment, output: Output) -> int:
    """Run until a signal; the exit code. What goes wrong is one line."""
    os.umask(0o077)
    try:
        with datafolder.lock(environment.data_dir):
            return asyncio.run(_run(environment, output))
    except (Unusable, ServerFailed) as error:
        output.write(f"{error}\n")
        return 1


async def _run(environment: env.Environment, output: Output) -> int:
    console = Console(environment, output)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, console.ask_to_stop)
    starting = asyncio.create_task(console.start())
    asked = asyncio.create_task(console.asked_to_stop.wait())
    try:
        await asyncio.wait({starting, asked}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await asked
        return 0
    finally:
        starting.cancel()
        asked.cancel()
        await asyncio.gather(starting, asked, return_exceptions=True)
        await console.stop()


class Console:
    """Everything that runs, by name, in the order in which it was started."""

    def __init__(self, environment: env.Environment, output: Output) -> None:
        self.environment, self.output = environment, output
        self.children: dict[str, Child] = {}
        self.asked_to_stop, self.hurry = asyncio.Event(), asyncio.Event()
        self.announced = False
        self.prepared = False
        self.variables: dict[str, str] = {}
        self.servers: servers.Servers | None = None
        self._open = AsyncExitStack()

    @property
    def data_dir(self) -> Path:
        return self.environment.data_dir

    def ask_to_stop(self) -> None:
        """The first signal stops, the second hurries."""
        if self.asked_to_stop.is_set():
            self.hurry.set()
        self.asked_to_stop.set()

    async def start(self) -> None:
        started = time.monotonic()
        runfile.remove(self.data_dir)
        await check_ports(self.environment)
        secrets = datafolder.generated_secrets(self.data_dir)
        self.output.say(f"Starting on {self.data_dir}")
        self.servers = await servers.choose(self.environment, secrets)
        for note in self.servers.notes:
            self.output.say(note)
        await asyncio.gather(*(self._start(program) for program in self.servers.programs))
        await asyncio.to_thread(servers.prepare_roles, self.servers, secrets)
        self.variables = self._variables(secrets)
        run_folder = self.data_dir / "run"
        make_folder(run_folder, 0o700)
        ours = programs.all_of(self.environment, self.variables, run_folder)
        await self._serve_metrics()
        first = [asyncio.create_task(self._start(ours.pop(name))) for name in ("gateway", "web")]
        await self._prepare_database()
        await asyncio.gather(*first, *(self._start(program) for program in ours.values()))
        self.announced = True
        self.write_run_file()
        self.output.write(welcome(self.environment, self._demo(), time.monotonic() - started))

    async def _start(self, program: Program) -> None:
        child = self.children[program.name] = Child(program, self.output, self.write_run_file)
        await child.start()
        await child.ready(READY_SECONDS)

    async def _serve_metrics(self) -> None:
        folder = Path(self.variables["PROMETHEUS_MULTIPROC_DIR"])
        where = self.environment.host, self.environment.metrics_port
        runner = await exposition.serve(*where, folder, lambda: {n: c.restarts for n, c in self.children.items()})
        self._open.push_async_callback(runner.cleanup)

    async def _prepare_database(self) -> None:
        assert self.servers
        variables = {**self.variables, "DATABASE_URL": self.servers.owner_url}
        program = programs.one_off("setup", variables, "provision")
        process = await asyncio.create_subprocess_exec(*program.command, stdout=PIPE, **program.arguments())
        await self.output.follow("setup", process.stdout)
        if code := await process.wait():
            raise ServerFailed(f"The database could not be prepared: the step {ending(code)}; see its lines above.")
        self.prepared = True

    def _variables(self, secrets: datafolder.Secrets) -> dict[str, str]:
        """The environment of every process of the product."""
        assert self.servers
        metrics = self.data_dir / "run" / "metrics"
        make_folder(metrics, 0o700)
        exposition.prepare_folder(metrics)
        environment = self.environment
        return {
            **env.merged(os.environ),
            "DJANGO_SETTINGS_MODULE": "console.settings",
            "CONSOLE_DATA_DIR": str(self.data_dir),
            "CONSOLE_HOST": environment.host,
            "CONSOLE_PORT": str(environment.console_port),
            "GATEWAY_PORT": str(environment.gateway_port),
            "METRICS_PORT": str(environment.metrics_port),
            "CONSOLE_DEMO": str(int(environment.demo)),
            "DATABASE_URL": self.servers.database_url,
            "REDIS_URL": self.servers.redis_url,
            "CONSOLE_SECRET_KEY": environment.secret_key or secrets.secret_key,
            "CONSOLE_ENCRYPTION_KEYS": environment.encryption_keys or secrets.encryption_key,
            "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        }

    def _demo(self) -> dict[str, Any]:
        return runfile.demo_block(datafolder.read_demo(self.data_dir))

    def write_run_file(self) -> None:
        """At the end of the start, and whenever a process was started again."""
        if not self.announced or not self.servers:
            return
        content: dict[str, Any] = {
            "console_url": self.environment.console_url,
            "gateway_url": self.environment.gateway_url,
            "metrics_url": self.environment.metrics_url,
            "database_url": self.servers.database_url,
            "redis_url": self.servers.redis_url,
            "processes": {"up": os.getpid()} | {name: child.pid for name, child in self.children.items() if child.pid},
        }
        demo = self._demo()
        runfile.write(self.data_dir, content | ({"demo": demo} if demo else {}))

    async def stop(self) -> None:
        """End everything; replicas of this machine are stopped and stamped, what people want stays as it is."""
        if self.announced:
            self.output.say("Stopping (once more to hurry) …")
        self.announced = False
        deadline = time.monotonic() + STOP_SECONDS
        switching_off = asyncio.create_task(self._switch_off_when_told())
        await asyncio.gather(
            *(self._stop(name, 2.0) for name in ("beat", "watch", "worker")),
            self._stop_gateway(),
        )
        await asyncio.gather(self._stop("web", 1.5), self._finish_switching_off(await switching_off, deadline))
        await asyncio.gather(*(self._stop(name, DATABASE_STOP_SECONDS) for name in ("valkey", "postgresql")))
        await self._open.aclose()
        runfile.remove(self.data_dir)

    async def _stop(self, name: str, grace_seconds: float) -> None:
        if child := self.children.get(name):
            await child.stop(grace_seconds=grace_seconds)

    async def _stop_gateway(self) -> None:
        """Streams get STREAM_SECONDS; a second SIGTERM then ends those left with an error event."""
        gateway = self.children.get("gateway")
        if not gateway:
            return
        gateway.stopping = True
        gateway.signal(signal.SIGTERM)
        ended = asyncio.create_task(gateway.ended(STREAM_SECONDS))
        hurried = asyncio.create_task(self.hurry.wait())
        await asyncio.wait({ended, hurried}, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        await gateway.stop(grace_seconds=1.5)
        await ended

    async def _switch_off_when_told(self) -> asyncio.subprocess.Process | None:
        """Start the last step early: it loads while streams end, and waits for a line on its input."""
        if not self.prepared:
            return None
        program = programs.one_off("setup", self.variables, "switch_off")
        arguments = program.arguments() | {"stdin": PIPE, "stdout": PIPE, "stderr": STDOUT}
        return await asyncio.create_subprocess_exec(*program.command, **arguments)

    async def _finish_switching_off(self, process: asyncio.subprocess.Process | None, deadline: float) -> None:
        if not process:
            return
        seconds = deadline - DATABASE_STOP_SECONDS - time.monotonic()
        assert process.stdin
        process.stdin.write(b"go\n")
        talk = self.output.follow("setup", process.stdout)
        try:
            await asyncio.wait_for(talk, min(seconds, HURRIED_SECONDS) if self.hurry.is_set() else seconds)
        except TimeoutError:
            self.output.say("Replicas did not stop in time; the next start finds those that are left.")
            process.kill()
        await process.wait()
