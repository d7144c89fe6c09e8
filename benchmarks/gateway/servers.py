"""Starts what is compared, what stands behind it, and what the gateway needs: Valkey with published keys and routes.

The gateway is the product's own process with the environment that `manage.py up` gives it: key, route, slot and usage
event in a real Valkey, durable as in `up`, and metrics in files.
"""

from __future__ import annotations

import http.client
import os
import resource
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import redis

from benchmarks.gateway.load import Target
from benchmarks.gateway.processes import Cores, list_process_tree, pin
from console.machine import embedded_servers, process_spec
from gateway import contract

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
NGINX = Path("/usr/sbin/nginx")
ROUTER_PACKAGE = "vllm-router==0.1.17"
ROUTER_FOLDER = BUILD / "vllm-router"
KEY_BODY = f"{contract.KEY_PREFIX}{'b' * 30}"
KEY = KEY_BODY + contract.key_checksum(KEY_BODY)
START_SECONDS = 40.0


class BenchmarkFailed(Exception):
    """The benchmark cannot run; the message says why and what to do."""


@dataclass(frozen=True)
class Server:
    """A running server under test; `pids` are its processes."""

    name: str
    target: Target
    pids: tuple[int, ...]


def install_router(wheel: Path | None) -> str | None:
    """Install vllm-router into an environment of its own, once. Returns why that is not possible, in one line."""
    program = ROUTER_FOLDER / "bin" / "vllm-router"
    if program.exists():
        return None
    package = str(wheel) if wheel else ROUTER_PACKAGE
    print(f"Installing {package} into {ROUTER_FOLDER} …", flush=True)
    for command in (
        [sys.executable, "-m", "venv", str(ROUTER_FOLDER)],
        [str(ROUTER_FOLDER / "bin" / "python"), "-m", "pip", "install", "-q", "--only-binary", ":all:", package],
    ):
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            return f"{package} could not be installed: {' '.join((run.stderr or run.stdout).split())[-300:]}"
    return None if program.exists() else f"{package} has no program at {program}."


def raise_file_limit() -> int:
    """Let this process and its children open as many files as the system allows; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@dataclass
class Valkey:
    """The Valkey of the gateway."""

    url: str
    pid: int
    client: redis.Redis = field(repr=False)

    def read_command_seconds(self) -> tuple[float, dict[str, tuple[int, float]]]:
        """Return the seconds spent in commands since the start, and per command (calls, seconds).

        Commands that a script calls are also counted by themselves, so the sum over commands is greater.
        """
        info = self.client.info("everything")
        commands = {
            name.removeprefix("cmdstat_"): (int(stat["calls"]), stat["usec"] / 1e6)
            for name, stat in info.items()
            if name.startswith("cmdstat_")
        }
        return info["eventloop_duration_cmd_sum"] / 1e6, commands


@dataclass
class Machine:
    """Starts processes on their cores; everything ends with `stack`."""

    folder: Path
    cores: Cores
    stack: ExitStack
    files: int
    replica_ports: list[int] = field(default_factory=list)
    replica_pid: int = 0
    valkey: Valkey | None = None

    def start_replicas(self, count: int) -> None:
        """One process that listens on `count` ports."""
        with ExitStack() as binding:
            listeners = [binding.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
            self.replica_ports = [listener.getsockname()[1] for listener in listeners]
            descriptors = [listener.fileno() for listener in listeners]
            command = [sys.executable, "-m", "benchmarks.gateway.replica", *map(str, descriptors)]
            running = self._running("replica", command, self.cores.replica, pass_fds=descriptors)
            process = self.stack.enter_context(running)
        self.replica_pid = process.pid
        self._wait_until_ready(process, "replica", partial(is_answering, self.replica_ports[-1], "/health"))

    def start_valkey(self) -> None:
        """With a key, and a deployment for each of 1 and all replicas."""
        port, password = embedded_servers.find_free_port(), embedded_servers.generate_password()
        process = process_spec.start_process(embedded_servers.prepare_valkey(self.folder / "valkey", port, password))
        self.stack.callback(stop, process)
        pin([process.pid], self.cores.valkey)
        url = embedded_servers.build_redis_url(port, password)
        self.valkey = Valkey(url, process.pid, redis.Redis.from_url(url, decode_responses=True))
        publish(self.valkey.client, {name_model(count): self.replica_ports[:count] for count in self.replica_counts})

    @property
    def replica_counts(self) -> list[int]:
        return sorted({1, len(self.replica_ports)})

    @contextmanager
    def nginx(self, replicas: int) -> Iterator[Server]:
        folder, port = self._own_folder("nginx"), embedded_servers.find_free_port()
        upstream = " ".join(f"server 127.0.0.1:{address};" for address in self.replica_ports[:replicas])
        template = (Path(__file__).parent / "nginx.conf").read_text()
        configuration = folder / "nginx.conf"
        configuration.write_text(template.format(folder=folder, replicas=upstream, port=port, files=self.files))
        command = [str(NGINX), "-c", str(configuration), "-p", str(folder)]
        with self._server("nginx", command, port, "/health", replicas) as server:
            yield server

    @contextmanager
    def router(self, replicas: int) -> Iterator[Server]:
        port, metrics = embedded_servers.find_free_port(), embedded_servers.find_free_port()
        urls = [f"http://127.0.0.1:{address}" for address in self.replica_ports[:replicas]]
        command = [
            str(ROUTER_FOLDER / "bin" / "vllm-router"), "--host", "127.0.0.1", "--port", str(port),
            "--prometheus-host", "127.0.0.1", "--prometheus-port", str(metrics), "--policy", "round_robin",
            "--log-level", "error", "--worker-startup-check-interval", "1", "--worker-urls", *urls,
        ]  # fmt: skip
        with self._server("vllm-router", command, port, "/health", replicas) as server:
            yield server

    @contextmanager
    def gateway(self, replicas: int, profile: Path | None = None) -> Iterator[Server]:
        assert self.valkey
        port, folder = embedded_servers.find_free_port(), self._own_folder("gateway")
        metrics = folder / "metrics"
        metrics.mkdir()
        module = ["benchmarks.gateway.profiled_gateway", str(profile)] if profile else ["gateway"]
        settings = {
            "REDIS_URL": self.valkey.url, "CONSOLE_DATA_DIR": str(folder), "GATEWAY_PORT": str(port),
            "CONSOLE_PROCESS": "gateway", "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        }  # fmt: skip
        command = [sys.executable, "-m", *module]
        with self._server("gateway", command, port, "/readyz", replicas, settings) as server:
            yield server

    def _own_folder(self, name: str) -> Path:
        folder = self.folder / f"{name}-{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        return folder

    @contextmanager
    def _server(
        self, name: str, command: list[str], port: int, path: str, replicas: int,
        environment: Mapping[str, str] | None = None,
    ) -> Iterator[Server]:  # fmt: skip
        with self._running(name, command, self.cores.server, environment) as process:
            self._wait_until_ready(process, name, partial(is_answering, port, path))
            yield Server(name, Target(port, name_model(replicas), KEY), list_process_tree(process.pid))

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _wait_until_ready(self, process: subprocess.Popen[bytes], name: str, is_ready: Callable[[], bool]) -> None:
        """Raises BenchmarkFailed with the last output of a process that does not start."""
        deadline = time.monotonic() + START_SECONDS
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                output = self._log(name).read_text(errors="replace").splitlines()
                raise BenchmarkFailed(f"{name} did not start; its last output: {' '.join(output[-3:]) or 'none'}")
            time.sleep(0.05)

    @contextmanager
    def _running(
        self,
        name: str,
        command: list[str],
        core: int,
        environment: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Pinned before it starts, because runtimes count their cores then."""
        end_with_this_process = process_spec.die_with_parent()

        def prepare() -> None:
            end_with_this_process()
            os.sched_setaffinity(0, {core})

        variables = {**os.environ, **(environment or {})}
        with self._log(name).open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=variables,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=prepare,
                pass_fds=pass_fds,
            )
        try:
            yield process
        finally:
            stop(process)


def name_model(replicas: int) -> str:
    """The deployment of the gateway with this many replicas."""
    return f"bench-{replicas}"


def publish(store: redis.Redis, deployments: Mapping[str, list[int]]) -> None:
    """Publish one key, and per model a deployment with a replica on each port and more slots than the load needs."""
    organization, slug = str(uuid.uuid4()), "bench"
    key = contract.KeyRecord(str(uuid.uuid4()), organization, slug, str(uuid.uuid4()), ["inference"])
    store.hset(contract.KEYS, contract.key_hash(KEY), key.to_json())
    for model, ports in deployments.items():
        deployment = str(uuid.uuid4())
        route = contract.RouteRecord(deployment, organization, slug, model, "open", 0.0, 8192, simulated=True)
        store.hset(contract.ROUTES, deployment, route.to_json())
        for port in ports:
            replica = contract.ReplicaRecord(str(uuid.uuid4()), f"127.0.0.1:{port}", 100_000)
            store.hset(contract.replicas_key(deployment), replica.replica_id, replica.to_text())
    store.hset(contract.PUBLISHED, mapping={contract.KEYS_COMPLETE: 1, contract.ROUTES_COMPLETE: 1})


def is_answering(port: int, path: str) -> bool:
    """Whether a GET is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, and kill it after five seconds."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
