"""Killed gateways, an unavailable Redis, a Redis without its data: slots are released and no usage is lost."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from console.machine import embedded_servers, process_spec
from console.machine.embedded_servers import find_free_port
from gateway import contract
from gateway.contract import Admitted
from gateway.settlement_spool import Settlement, SettlementSpool
from gateway.settlements import Settlements
from gateway.slots import Admission, SlotStore
from gateway.store import scripts
from gateway.usage_metering import NO_TOKENS, TokenCounts, build_usage_event
from tests.integration.gateway.conftest import World, chat, until
from tests.integration.gateway.store_proxy import proxied

SOON = 8.0


async def start_process(world: World, **changes: str) -> tuple[asyncio.subprocess.Process, str]:
    port = int(changes.get("GATEWAY_PORT") or find_free_port())
    environment = os.environ | {
        "REDIS_URL": world.redis_url,
        "CONSOLE_DATA_DIR": str(world.folder),
        "GATEWAY_PORT": str(port),
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "gateway", env=environment | changes)
    world.stack.callback(lambda: process.kill() if process.returncode is None else None)

    async def is_up():
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    await until(is_up, 20)
    return process, f"http://127.0.0.1:{port}"


async def first_piece(world: World, url: str, prompt: str):
    stream = await world.client(url).chat.completions.create(**chat(prompt, stream=True))
    await anext(stream)
    return stream


async def test_open_requests_of_a_killed_gateway_are_settled_as_interrupted_by_another(world: World):
    deployment = await world.deployment()
    await world.replica(deployment, slots=1)
    process, url = await start_process(world)
    await first_piece(world, url, "chunks=1000 pause=0.05")
    process.kill()
    await process.wait()
    (dead,) = await world.store.zrange(contract.GATEWAYS, 0, -1)
    await world.store.zincrby(contract.GATEWAYS, -contract.GATEWAY_DEAD_SECONDS, dead)
    second = await world.gateway()
    await world.gateways[0].components.slots.reap(dead)
    event = await world.event()
    assert (event.outcome, event.estimated, event.gateway_id) == ("interrupted", True, dead)
    assert event.input_tokens == 6
    assert int(event.request_id.replace("-", "")[:12], 16) == round(event.admitted_at * 1000)
    assert await world.slots(deployment) == {}
    assert dead not in await world.store.zrange(contract.GATEWAYS, 0, -1)
    assert (await world.post(second, chat()))[0] == 200


@pytest.mark.parametrize(
    ("prompt", "is_estimated"), [("chunks=1000 pause=0.05", False), ("chunks=1000 pause=0.05 silent", True)]
)
async def test_the_streams_of_a_killed_gateway_are_settled_with_the_tokens_of_its_last_heartbeat(
    world: World, prompt: str, is_estimated: bool
):
    deployment = await world.deployment()
    await world.replica(deployment, slots=3)
    process, url = await start_process(world)
    await first_piece(world, url, prompt)

    async def has_reported():
        (gateway_id,) = await world.store.zrange(contract.GATEWAYS, 0, -1)
        return await world.store.hgetall(contract.gateway_counts_key(gateway_id))

    ((_, counts),) = (await until(has_reported, 20)).items()
    process.kill()
    await process.wait()
    ((_, counts),) = (await has_reported()).items()
    (dead,) = await world.store.zrange(contract.GATEWAYS, 0, -1)
    await world.store.zincrby(contract.GATEWAYS, -contract.GATEWAY_DEAD_SECONDS, dead)
    await world.gateway()
    await world.gateways[0].components.slots.reap(dead)
    event = await world.event()
    tokens = TokenCounts(event.input_tokens, event.cached_input_tokens, event.output_tokens, event.estimated)
    assert tokens.to_text() == counts
    assert (event.outcome, event.provisional, event.estimated) == ("interrupted", True, is_estimated)
    assert event.output_tokens > 1
    assert not await world.store.exists(contract.gateway_counts_key(dead))


async def test_the_reported_tokens_of_requests_that_have_ended_are_removed(world: World):
    deployment = await world.deployment()
    await world.replica(deployment, slots=3)
    url = await world.gateway()
    heartbeat, key = world.gateways[0].heartbeat, contract.gateway_counts_key(world.gateways[0].gateway_id)
    stream = await first_piece(world, url, "chunks=8 pause=0.05")
    await heartbeat.beat()
    assert len(await world.store.hgetall(key)) == 1
    [chunk async for chunk in stream]
    await world.event()
    await heartbeat.beat()
    assert await world.store.hgetall(key) == {}


async def test_a_gateway_that_was_reaped_while_it_was_paused_settles_its_streams_itself_afterwards(world: World):
    deployment = await world.deployment()
    await world.replica(deployment, slots=1)
    process, url = await start_process(world)
    stream = await first_piece(world, url, "chunks=40 pause=0.05")
    process.send_signal(signal.SIGSTOP)
    try:
        (paused,) = await world.store.zrange(contract.GATEWAYS, 0, -1)
        await world.store.zincrby(contract.GATEWAYS, -contract.GATEWAY_DEAD_SECONDS, paused)
        await world.gateway()
        await world.gateways[0].components.slots.reap(paused)
        provisional = await world.event()
    finally:
        process.send_signal(signal.SIGCONT)
    assert (provisional.outcome, provisional.provisional) == ("interrupted", True)
    assert len([chunk async for chunk in stream]) == 39

    async def both():
        return len(await world.events()) == 2

    await until(both)
    _, final = await world.events()
    assert (final.request_id, final.admitted_at) == (provisional.request_id, provisional.admitted_at)
    assert (final.outcome, final.provisional, final.output_tokens) == ("completed", False, 40)
    await until(world.is_idle)
    assert await world.slots(deployment) == {}


async def test_sigterm_lets_streams_finish_and_exits_with_zero(world: World):
    await world.replica(await world.deployment())
    process, url = await start_process(world, GATEWAY_DRAIN_SECONDS="5")
    stream = await first_piece(world, url, "chunks=20 pause=0.05")
    process.send_signal(signal.SIGTERM)
    assert len([chunk async for chunk in stream]) == 19
    assert await asyncio.wait_for(process.wait(), SOON) == 0
    event = await world.event()
    assert (event.outcome, event.output_tokens) == ("completed", 20)
    assert await world.store.zcard(contract.GATEWAYS) == 0


async def test_streams_that_outlast_the_drain_limit_end_in_an_error_event(world: World):
    await world.replica(await world.deployment())
    process, url = await start_process(world, GATEWAY_DRAIN_SECONDS="0.3")
    stream = await first_piece(world, url, "chunks=1000 pause=0.05")
    process.send_signal(signal.SIGTERM)
    with pytest.raises(Exception, match="restarted"):
        [chunk async for chunk in stream]
    assert await asyncio.wait_for(process.wait(), SOON) == 0
    event = await world.event()
    assert (event.outcome, event.estimated) == ("interrupted", False)
    assert event.output_tokens >= 1


async def test_usage_is_spooled_and_replayed_while_redis_is_unavailable(world: World):
    port = find_free_port()
    server = embedded_servers.prepare_valkey(world.folder / "valkey", port, "secret")
    valkey = process_spec.start_process(server)
    own = await world.build_beside(embedded_servers.build_redis_url(port, "secret"))
    deployment = await own.deployment()
    await own.replica(deployment)
    url = await own.gateway()
    task = asyncio.create_task(own.post(url, chat("pause=0.5")))

    async def has_open():
        return own.gateways[0].components.settlements.open_requests

    await until(has_open)
    valkey.kill()
    valkey.wait()
    assert (await task)[0] == 200

    async def has_spooled():
        return list((world.folder / "spool").glob("*.jsonl"))

    await until(has_spooled)
    status, headers, _ = await own.post(url, chat())
    assert (status, "retry-after" in headers) == (503, True)
    valkey = process_spec.start_process(server)
    await own.store.connection_pool.disconnect()
    try:
        event = await own.event()
        assert (event.outcome, event.output_tokens) == ("completed", 3)
        assert (await own.post(url, chat()))[0] == 200
        assert not await has_spooled()
        assert await until(lambda: _idle(own, deployment))
    finally:
        await own.stack.aclose()
        valkey.kill()
        valkey.wait()


async def _idle(world: World, deployment: contract.RouteRecord) -> bool:
    return await world.slots(deployment) == {}


async def test_the_spool_of_an_ended_process_is_taken_over(world: World):
    admitted = Admitted("0199aaaa-0000-7000-8000-000000000000", 1.5, "gone", "o", "o", "d", "r", "k", "u", "m", False)
    event = build_usage_event(admitted, NO_TOKENS, outcome="completed", status=200, seconds=1)
    spool = SettlementSpool(world.folder / "spool", "gone")
    spool.append(Settlement(admitted, event))
    await spool.flush()
    path = world.folder / "spool" / "gone.jsonl"
    lines = path.read_bytes()
    spool.remove_first(1)
    await spool.flush()
    unreadable = [lines.replace(b'"version":1', b'"version":2'), b"\xff\n", b'{"version":1,"admitted":{"cut off']
    path.write_bytes(lines + b"".join(unreadable))
    await world.gateway()
    assert await world.event() == event
    assert not path.exists()
    assert path.with_suffix(".unreadable").read_bytes() == b"".join(unreadable)


async def test_open_requests_are_restored_after_redis_lost_its_data(world: World):
    deployment = await world.deployment()
    await world.replica(deployment, slots=1)
    url = await world.gateway()
    task = asyncio.create_task(world.post(url, chat("pause=1")))

    async def is_open():
        return await world.slots(deployment)

    before = await until(is_open)
    replicas = await world.store.hgetall(contract.replicas_key(deployment.deployment_id))
    await world.store.flushdb()
    await world.store.hset(contract.replicas_key(deployment.deployment_id), mapping=replicas)
    await world.gateways[0].heartbeat.beat()
    assert await world.slots(deployment) == before
    assert (await task)[0] == 200
    assert (await world.event()).outcome == "completed"
    assert await world.slots(deployment) == {}


async def test_open_requests_are_restored_also_when_a_new_request_has_registered_the_gateway_again(world: World):
    deployment = await world.deployment()
    await world.replica(deployment)
    url = await world.gateway()
    gateway = world.gateways[0]
    stream = asyncio.create_task(world.post(url, chat("chunks=100 pause=0.05", stream=True)))

    async def has_slot() -> bool:
        return bool(await world.slots(deployment))

    await until(has_slot)
    (held,) = (await world.slots(deployment)).items()
    await world.store.delete(
        contract.GATEWAYS,
        contract.gateway_requests_key(gateway.gateway_id),
        contract.slots_key(deployment.deployment_id),
    )
    assert (await world.post(url, chat()))[0] == 200
    await gateway.heartbeat.beat()
    assert await world.slots(deployment) == dict([held])
    stream.cancel()


async def test_a_slot_whose_admission_reply_was_lost_is_released_after_two_heartbeats(world: World):
    deployment = await world.deployment()
    await world.replica(deployment)
    await world.gateway()
    running = world.gateways[0].components
    assert running is not None
    # A gateway of its own on the same connection, whose heartbeats only this test makes.
    slots = SlotStore(running.slots.client, "quiet", asyncio.get_running_loop().time)
    settlements = Settlements(slots, SettlementSpool(world.folder / "spool", "quiet"))
    admitted = Admitted("", 0.0, "quiet", "o", "o", deployment.deployment_id, "", "k", "u", "m", False)
    await slots.wait_for_admit(Admission(admitted))
    await settlements.release_unacknowledged()
    assert await world.slots(deployment) != {}
    await settlements.release_unacknowledged()
    assert await world.slots(deployment) == {}
    assert await world.events() == []


async def test_the_metrics_of_a_process_are_written_to_the_multiprocess_folder(world: World):
    await world.replica(await world.deployment())
    folder = world.folder / "metrics"
    folder.mkdir()
    process, url = await start_process(world, PROMETHEUS_MULTIPROC_DIR=str(folder), CONSOLE_PROCESS="gateway")
    await world.post(url, chat("chunks=4", stream=True))
    await world.post(url, chat(model="unknown-model"))
    process.send_signal(signal.SIGTERM)
    await process.wait()
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))
    text = generate_latest(registry).decode()
    path = 'process="gateway",route="/v1/chat/completions"'
    assert f'console_gateway_requests_total{{{path},status="200"}} 1.0' in text
    assert f'console_gateway_requests_total{{{path},status="404"}} 1.0' in text
    assert 'console_gateway_tokens_total{direction="output",process="gateway"} 4.0' in text
    assert 'console_gateway_ttft_seconds_count{process="gateway",start="warm"} 1.0' in text
    assert "unknown-model" not in text


async def test_an_invalid_setting_is_reported_in_one_line(tmp_path: Path):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway",
        env=os.environ | {"GATEWAY_PORT": "many"},
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode
    assert errors.decode().strip() == "GATEWAY_PORT must be a number that is not negative, not 'many'."


async def test_a_client_that_leaves_while_its_lost_attempt_is_settled_leaves_no_slot_behind(world: World):
    received, dies = asyncio.Event(), asyncio.Event()

    async def die_before_the_first_byte(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        received.set()
        await dies.wait()
        writer.close()

    deployment = await world.deployment()
    server = await world.stack.enter_async_context(await asyncio.start_server(die_before_the_first_byte, "127.0.0.1"))
    await world.announce(deployment, f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with proxied(world.redis_url) as proxy:
        url = await world.gateway(redis_url=proxy.url)
        task = asyncio.create_task(world.post(url, chat()))
        await received.wait()
        proxy.hold = scripts.SETTLE.sha.encode()
        dies.set()
        await proxy.held.wait()
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0.1)  # the gateway notices that the client has left; nothing tells when
        proxy.release()
        await until(world.is_idle)
        assert await world.slots(deployment) == {}
        assert world.gateways[0].components.settlements.open_requests == {}


async def test_several_processes_serve_one_port_and_one_that_drains_hands_over(world: World):
    await world.replica(await world.deployment(), slots=100)
    ready = [world.folder / "one", world.folder / "two"]
    shared = {"GATEWAY_PROCESSES": "2", "GATEWAY_DRAIN_SECONDS": "20"}
    first, url = await start_process(world, CONSOLE_READY_FILE=str(ready[0]), **shared)
    port = url.rpartition(":")[2]
    second, _ = await start_process(world, GATEWAY_PORT=port, CONSOLE_READY_FILE=str(ready[1]), **shared)

    async def are_ready():
        return all(path.exists() for path in ready)

    await until(are_ready, 20)
    # As a client does, a new connection for each: the kernel chooses the process by its port.
    streams = await asyncio.gather(*(first_piece(world, url, "chunks=60 pause=0.05") for _ in range(24)))
    gateway_ids = await world.store.zrange(contract.GATEWAYS, 0, -1)
    shares = [await world.store.hlen(contract.gateway_requests_key(gateway_id)) for gateway_id in gateway_ids]
    assert (len(shares), sum(shares), min(shares) > 0) == (2, 24, True)
    first.send_signal(signal.SIGTERM)
    counts = await asyncio.gather(*(count_chunks(stream) for stream in streams))
    assert counts == [59] * 24
    assert await asyncio.wait_for(first.wait(), SOON) == 0
    assert [(await world.post(url, chat()))[0] for _ in range(5)] == [200] * 5
    assert second.returncode is None


async def count_chunks(stream) -> int:
    return len([chunk async for chunk in stream])
