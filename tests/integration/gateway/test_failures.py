"""Gateways that die, a Redis that is away or comes back empty: slots are freed and nothing is lost."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from console.machine import embedded, program
from console.machine.embedded import free_port
from gateway import contract
from gateway.contract import Admitted
from gateway.spool import Settlement, Spool
from gateway.usage import NOTHING, event_of
from tests.integration.gateway.conftest import World, chat, until

SOON = 8.0


async def start_process(world: World, **changes: str) -> tuple[asyncio.subprocess.Process, str]:
    port = free_port()
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


async def test_what_a_killed_gateway_left_open_is_settled_as_interrupted_by_another(world: World):
    deployment = await world.deployment()
    await world.replica(deployment, slots=1)
    process, url = await start_process(world)
    await first_piece(world, url, "chunks=1000 pause=0.05")
    process.kill()
    await process.wait()
    (dead,) = await world.store.zrange(contract.GATEWAYS, 0, -1)
    await world.store.zincrby(contract.GATEWAYS, -contract.GATEWAY_DEAD_SECONDS, dead)
    second = await world.gateway()
    await world.gateways[0].parts.limits.reap(dead)
    event = await world.event()
    assert (event.outcome, event.estimated, event.gateway_id) == ("interrupted", True, dead)
    assert event.input_tokens == 6
    assert int(event.request_id.replace("-", "")[:12], 16) == round(event.admitted_at * 1000)
    assert await world.slots(deployment) == {}
    assert dead not in await world.store.zrange(contract.GATEWAYS, 0, -1)
    assert (await world.post(second, chat()))[0] == 200


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


async def test_usage_that_redis_does_not_take_is_spooled_and_replayed(world: World):
    port = free_port()
    server = embedded.valkey(world.folder / "valkey", port, "secret")
    valkey = program.start(server)
    own = await world.beside(embedded.redis_url(port, "secret"))
    deployment = await own.deployment()
    await own.replica(deployment)
    url = await own.gateway()
    task = asyncio.create_task(own.post(url, chat("pause=0.5")))

    async def has_open():
        return own.gateways[0].parts.ledger.open

    await until(has_open)
    valkey.kill()
    valkey.wait()
    assert (await task)[0] == 200

    async def has_spooled():
        return list((world.folder / "spool").glob("*.jsonl"))

    await until(has_spooled)
    status, headers, _ = await own.post(url, chat())
    assert (status, "retry-after" in headers) == (503, True)
    valkey = program.start(server)
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


async def test_the_spool_of_a_process_that_is_gone_is_taken_over(world: World):
    note = Admitted("0199aaaa-0000-7000-8000-000000000000", 1.5, "gone", "o", "o", "d", "r", "k", "u", "m", False)
    event = event_of(note, NOTHING, outcome="completed", status=200, seconds=1, ttft_seconds=None)
    spool = Spool(world.folder / "spool", "gone")
    spool.append(Settlement(note, event))
    path = world.folder / "spool" / "gone.jsonl"
    text = path.read_text()
    spool.done(1)
    path.write_text(text + '{"admitted": {"cut off')
    await world.gateway()
    assert await world.event() == event
    assert not path.exists()


async def test_a_redis_that_comes_back_empty_learns_the_open_requests_again(world: World):
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
    await world.gateways[0].presence.beat()
    assert await world.slots(deployment) == before
    assert (await task)[0] == 200
    assert (await world.event()).outcome == "completed"
    assert await world.slots(deployment) == {}


async def test_a_slot_whose_answer_got_lost_is_freed_after_two_looks(world: World):
    deployment = await world.deployment()
    await world.replica(deployment)
    await world.gateway()
    parts = world.gateways[0].parts
    note = Admitted("", 0.0, parts.limits.gateway_id, "o", "o", deployment.deployment_id, "", "k", "u", "m", False)
    await parts.limits.admit(note, ())
    await parts.ledger.release_strays()
    assert await world.slots(deployment) != {}
    await parts.ledger.release_strays()
    assert await world.slots(deployment) == {}
    assert await world.events() == []


async def test_the_metrics_of_a_process_are_written_for_the_common_port(world: World):
    await world.replica(await world.deployment())
    folder = world.folder / "metrics"
    folder.mkdir()
    process, url = await start_process(world, PROMETHEUS_MULTIPROC_DIR=str(folder), CONSOLE_PROCESS="gateway")
    await world.post(url, chat("chunks=4", stream=True))
    await world.post(url, chat(model="nobody's"))
    process.send_signal(signal.SIGTERM)
    await process.wait()
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))
    text = generate_latest(registry).decode()
    path = 'process="gateway",route="/v1/chat/completions"'
    assert f'console_gateway_requests_total{{{path},status="200"}} 1.0' in text
    assert f'console_gateway_requests_total{{{path},status="404"}} 1.0' in text
    assert 'console_gateway_tokens_total{direction="output",process="gateway"} 4.0' in text
    assert 'console_gateway_ttft_seconds_count{process="gateway"} 1.0' in text
    assert "nobody" not in text


async def test_one_line_says_which_setting_is_wrong(tmp_path: Path):
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
