"""Fixtures: a real Valkey, and gateways and scripted replicas in this event loop, each on its own port."""

from __future__ import annotations

import asyncio
import json
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import redis.asyncio
import uvicorn

from gateway import contract
from gateway.contract import KeyRecord, ReplicaRecord, RouteRecord
from gateway.lifecycle import Gateway
from gateway.server import GatewayServer
from gateway.settings import Settings
from tests.integration.gateway.scripted_replica import ScriptedReplica

ORGANIZATION, OTHER = str(uuid.uuid4()), str(uuid.uuid4())


def secret(number: int) -> str:
    body = f"{contract.KEY_PREFIX}{number:030d}"
    return body + contract.key_checksum(body)


@asynccontextmanager
async def served(application: Any, port: int = 0, **settings: Any) -> AsyncIterator[str]:
    """Serve an ASGI application with uvicorn; yields host:port."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", port))
    config = uvicorn.Config(application, log_config=None, log_level="critical", access_log=False, **settings)
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110 - the server has no event to wait for
        await asyncio.sleep(0.005)
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    await task


@asynccontextmanager
async def run_gateway(gateway: Gateway) -> AsyncIterator[str]:
    """Serve a gateway in this event loop; yields host:port."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = GatewayServer(gateway)
    await server.start(listener)
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    server.drain()
    server.drain()
    await server.stop()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers."""

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await self._serve(sockets)


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 8.0) -> Any:
    """Poll until the condition is true; returns its value."""
    async with asyncio.timeout(seconds):
        while not (value := await condition()):  # noqa: ASYNC110 - other processes have no events either
            await asyncio.sleep(0.01)
    return value


async def wait_until_queued(world: World, deployment: RouteRecord, count: int) -> None:
    """Wait until the gateways together queue exactly `count` requests for the deployment."""

    async def are_queued() -> bool:
        queues = [gateway.components.queues for gateway in world.gateways if gateway.components]
        return sum(queue.count_waiting(deployment.deployment_id) for queue in queues) == count

    await until(are_queued)


@dataclass
class World:
    """The Redis, gateways, replicas and records of one test."""

    store: redis.asyncio.Redis
    folder: Path
    stack: AsyncExitStack
    redis_url: str
    gateways: list[Gateway] = field(default_factory=list)
    key: str = secret(1)
    session: aiohttp.ClientSession | None = None

    async def build_beside(self, redis_url: str) -> World:
        """Build another world on another Redis."""
        return await build(redis_url, self.folder)

    async def gateway(self, **changes: Any) -> str:
        """Start a gateway; returns its base URL."""
        settings = {"redis_url": self.redis_url, "queue_seconds": 5.0, "cold_start_seconds": 5.0, "drain_seconds": 2.0}
        gateway = Gateway(Settings(self.folder, **(settings | changes)))
        self.gateways.append(gateway)
        return "http://" + await self.stack.enter_async_context(run_gateway(gateway))

    async def replica(self, deployment: RouteRecord, slots: int = 8, **changes: Any) -> ScriptedReplica:
        """Start a replica and publish it."""
        program = ScriptedReplica()
        address = await self.stack.enter_async_context(served(program, lifespan="off", timeout_graceful_shutdown=1))
        await self.announce(deployment, address, slots, **changes)
        return program

    async def announce(self, deployment: RouteRecord, address: str, slots: int = 8, **changes: Any) -> ReplicaRecord:
        record = ReplicaRecord(str(uuid.uuid4()), address, slots, **changes)
        key = contract.replicas_key(deployment.deployment_id)
        await self.store.hset(key, record.replica_id, record.to_text())
        await self.published(contract.DEPLOYMENT_CHANGED, deployment.deployment_id)
        return record

    async def deployment(self, name: str = "chat", **changes: Any) -> RouteRecord:
        route = RouteRecord(
            deployment_id=str(uuid.uuid4()),
            organization_id=ORGANIZATION,
            organization_slug="acme",
            name=name,
            state="open",
            created_at=1_700_000_000.5,
            context_length=1000,
            simulated=True,
        )
        route = replace(route, **changes)
        await self.store.hset(contract.ROUTES, route.deployment_id, route.to_json())
        await self.published(contract.DEPLOYMENT_CHANGED, route.deployment_id)
        return route

    async def add_key(self, number: int, **changes: Any) -> str:
        record = KeyRecord(str(uuid.uuid4()), ORGANIZATION, "acme", str(uuid.uuid4()), ["inference"])
        text = secret(number)
        await self.store.hset(contract.KEYS, contract.key_hash(text), replace(record, **changes).to_json())
        await self.published(contract.KEY_CHANGED, contract.key_hash(text))
        return text

    async def published(self, kind: str, name: str) -> None:
        """Announce a change and wait until all gateways have read it."""
        marks = {contract.KEYS_COMPLETE: 1, contract.ROUTES_COMPLETE: 1}
        await self.store.hset(contract.PUBLISHED, mapping=marks)
        position = await self.store.xadd(contract.CHANGES, {kind: name})

        async def is_read() -> bool:
            following = [gateway.components.published for gateway in self.gateways if gateway.components]
            return all(published.position == position for published in following)

        await until(is_read)

    def client(self, url: str, **changes: Any) -> openai.AsyncOpenAI:
        settings = {"base_url": f"{url}/v1", "api_key": self.key, "max_retries": 0} | changes
        return openai.AsyncOpenAI(**settings)

    async def events(self) -> list[contract.UsageEvent]:
        entries = await self.store.xrange(contract.USAGE)
        return [contract.UsageEvent.from_json(fields["event"]) for _, fields in entries]

    async def event(self) -> contract.UsageEvent:
        """Wait until everything is settled and return the only event."""
        await until(self.events)
        await until(self.is_idle)
        (event,) = await self.events()
        return event

    async def is_idle(self) -> bool:
        return not [key async for key in self.store.scan_iter(contract.gateway_requests_key("*"))]

    async def slots(self, deployment: RouteRecord) -> dict[str, str]:
        slots: dict[str, str] = await self.store.hgetall(contract.slots_key(deployment.deployment_id))
        return slots

    async def post(self, url: str, body: Any, key: str | None = None, **headers: str) -> tuple[int, Any, bytes]:
        """Send a chat request; returns (status, headers, body)."""
        assert self.session
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"authorization": f"Bearer {key or self.key}", **headers}
        async with self.session.post(f"{url}/v1/chat/completions", data=data, headers=given) as response:
            return response.status, response.headers, await response.read()


def chat(prompt: str = "hi", model: str = "chat", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **more}


@pytest.fixture
async def world(redis_url: str, tmp_path: Path) -> AsyncIterator[World]:
    built = await build(redis_url, tmp_path)
    async with built.stack:
        yield built


async def build(redis_url: str, folder: Path) -> World:
    """Build a world with one key. The caller closes its stack."""
    stack = AsyncExitStack()
    store = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    stack.push_async_callback(store.aclose)
    built = World(store, folder, stack, redis_url)
    built.session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
    await built.add_key(1)
    return built
