"""Requests per second through the gateway and through nginx `proxy_pass`, one after the other in one run.

    python benchmarks/gateway.py [--seconds 6] [--connections 64]

Both stand before the same trivial replica, on this machine, each with one process; the load comes from a third. The
gateway does all that it does in earnest: key, route, `admit` and `settle` in a real Valkey, and the usage stream.
Needs nginx at /usr/sbin/nginx.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import cast

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import redis  # noqa: E402
import uvloop  # noqa: E402

from console.machine import embedded_servers, process_spec  # noqa: E402
from gateway import contract  # noqa: E402

NGINX = Path("/usr/sbin/nginx")
SECRET = "mc_" + "b" * 30 + contract.key_checksum("mc_" + "b" * 30)
BODY = json.dumps({"model": "bench", "messages": [{"role": "user", "content": "Say hello."}]}).encode()
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
ANSWER = json.dumps({"id": "x", "object": "chat.completion", "choices": [CHOICE], "usage": USAGE}).encode()
HEAD_END = b"\r\n\r\n"


class Messages(asyncio.Protocol):
    """HTTP messages with a Content-Length, one after the other on one connection."""

    def __init__(self) -> None:
        self._buffer = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(HEAD_END)) >= 0:
            head = self._buffer[:end].lower()
            start = head.index(b"content-length:") + 15
            length = int(head[start:].split(b"\r\n", 1)[0])
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            self.message(head)

    def message(self, head: bytes) -> None:
        raise NotImplementedError


class TrivialReplica(Messages):
    """Answers every request with the same bytes."""

    RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER) + ANSWER

    def message(self, head: bytes) -> None:
        self.transport.write(self.RESPONSE)


@dataclass
class Load:
    """What one run measured; `failed` counts answers other than 200."""

    ends_at: float
    seconds: list[float] = field(default_factory=list)
    failed: int = 0


class Caller(Messages):
    """Sends the next request when the last is answered."""

    REQUEST = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        b"authorization: Bearer %s\r\ncontent-length: %d\r\n\r\n" % (SECRET.encode(), len(BODY)) + BODY
    )

    def __init__(self, load: Load) -> None:
        super().__init__()
        self._load = load
        self._sent = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._send()

    def message(self, head: bytes) -> None:
        now = time.perf_counter()
        self._load.seconds.append(now - self._sent)
        self._load.failed += not head.startswith(b"http/1.1 200")
        if now < self._load.ends_at:
            self._send()
        else:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._load.failed += error is not None
        if not self.done.done():
            self.done.set_result(None)

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self.transport.write(self.REQUEST)


async def serve_replica(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(TrivialReplica, "127.0.0.1", port)
    await server.serve_forever()


async def measure(port: int, seconds: float, connections: int) -> Load:
    load = Load(time.perf_counter() + seconds)
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: Caller(load), "127.0.0.1", port) for _ in range(connections)]
    async with asyncio.timeout(seconds + 20):
        await asyncio.gather(*(caller.done for _, caller in made))
    return load


@contextmanager
def running(command: list[str], port: int, **environment: str) -> Iterator[None]:
    process = subprocess.Popen(command, env=os.environ | environment, cwd=ROOT)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        else:
            sys.exit(f"{command[0]} did not start on port {port}.")
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def valkey(folder: Path) -> Iterator[str]:
    port = embedded_servers.find_free_port()
    process = process_spec.start_process(embedded_servers.prepare_valkey(folder, port, "bench"))
    try:
        yield embedded_servers.build_redis_url(port, "bench")
    finally:
        process.kill()
        process.wait()


def publish(url: str, replica_port: int) -> None:
    """One key, one deployment, one replica with more slots than the load needs."""
    store = redis.Redis.from_url(url)
    deployment, organization, replica = (str(uuid.uuid4()) for _ in range(3))
    key = contract.KeyRecord(str(uuid.uuid4()), organization, "bench", str(uuid.uuid4()), ["inference"])
    route = contract.RouteRecord(deployment, organization, "bench", "bench", "open", 0.0, 8192, simulated=True)
    record = contract.ReplicaRecord(replica, f"127.0.0.1:{replica_port}", 100_000)
    store.hset(contract.KEYS, contract.key_hash(SECRET), key.to_json())
    store.hset(contract.ROUTES, deployment, route.to_json())
    store.hset(contract.replicas_key(deployment), replica, record.to_json())
    store.incr(contract.GENERATION)
    store.close()


def report(name: str, load: Load, seconds: float) -> float:
    per_second = len(load.seconds) / seconds
    cuts = [cut * 1000 for cut in quantiles(load.seconds, n=100)]
    times = f"p50 {cuts[49]:6.2f} ms   p99 {cuts[98]:6.2f} ms"
    print(f"{name:8} {per_second:9,.0f} requests/s   {times}   failed {load.failed}")
    return per_second


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=6.0)
    options.add_argument("--connections", type=int, default=64)
    options.add_argument("--replica", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.replica:
        return uvloop.run(serve_replica(given.replica))
    if not NGINX.exists():
        sys.exit(f"nginx is not at {NGINX}; install it (Debian: apt-get install nginx-light) and run this again.")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-benchmark-")))
        folder.chmod(0o755)
        replica, nginx, gateway = (embedded_servers.find_free_port() for _ in range(3))
        url = stack.enter_context(valkey(folder / "valkey"))
        stack.enter_context(running([sys.executable, __file__, "--replica", str(replica)], replica))
        template = (ROOT / "benchmarks" / "gateway.nginx.conf").read_text()
        (folder / "nginx.conf").write_text(template.format(folder=folder, upstream=replica, port=nginx))
        stack.enter_context(running([str(NGINX), "-c", str(folder / "nginx.conf"), "-p", str(folder)], nginx))
        publish(url, replica)
        settings = {"REDIS_URL": url, "CONSOLE_DATA_DIR": str(folder), "GATEWAY_PORT": str(gateway)}
        stack.enter_context(running([sys.executable, "-m", "gateway"], gateway, **settings))
        rates = []
        for name, port in (("nginx", nginx), ("gateway", gateway)):
            uvloop.run(measure(port, 1.0, given.connections))
            rates.append(report(name, uvloop.run(measure(port, given.seconds, given.connections)), given.seconds))
        print(f"ratio    {rates[1] / rates[0]:9.3f}   ({os.cpu_count()} CPUs, {given.connections} connections)")


if __name__ == "__main__":
    main()
