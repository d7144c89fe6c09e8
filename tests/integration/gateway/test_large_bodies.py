"""Large request bodies, which worker processes validate."""

import asyncio
import contextlib
import json
import sys

import psutil
import pytest

from gateway.body_workers import BodyWorkers
from gateway.openai_errors import ErrorResponse
from gateway.request_validation import InferencePath, ValidatedBody
from tests.integration.gateway.conftest import World, chat, until

LARGE = json.dumps(chat("chunks=2" + " x" * 300_000)).encode()


@pytest.fixture
async def workers():
    built = BodyWorkers()
    yield built
    await built.close()


def find_workers() -> list[psutil.Process]:
    """The workers that run; one that has ended is a zombie until it is waited for."""
    workers = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # also a zombie
            workers += [child] if "gateway.body_workers" in child.cmdline() else []
    return workers


async def test_a_large_body_reaches_the_engine_as_it_is(world: World):
    url = await world.gateway()
    replica = await world.replica(await world.deployment(context_length=1_000_000))
    status, _, answer = await world.post(url, LARGE)
    assert (status, json.loads(answer)["usage"]["completion_tokens"]) == (200, 2)
    assert replica.requests[0] == json.loads(LARGE)
    assert (await world.event()).output_tokens == 2
    status, _, answer = await world.post(url, b"[" + LARGE)
    assert (status, b"not valid JSON" in answer) == (400, True)


async def test_workers_are_started_on_demand_at_most_two_and_end_with_their_owner():
    workers = BodyWorkers()
    small = await workers.validate(InferencePath.CHAT, json.dumps(chat()).encode())
    assert isinstance(small, ValidatedBody)
    assert find_workers() == []
    results = await asyncio.gather(*[workers.validate(InferencePath.CHAT, LARGE) for _ in range(6)])
    assert all(isinstance(result, ValidatedBody) and result.body is LARGE for result in results)
    assert len(find_workers()) == 2
    await workers.close()
    assert find_workers() == []


async def test_a_worker_that_is_killed_is_replaced(workers):
    await workers.validate(InferencePath.CHAT, LARGE)
    (process,) = find_workers()
    process.kill()

    async def has_ended():
        return not find_workers()

    await until(has_ended)
    assert isinstance(await workers.validate(InferencePath.CHAT, LARGE), ValidatedBody | ErrorResponse)
    assert isinstance(await workers.validate(InferencePath.CHAT, LARGE), ValidatedBody)


LOST = {
    "ends at once": ("import sys; sys.exit(1)", 5.0),
    "ends in the middle": ("import sys; sys.stdin.buffer.read(9); sys.stdout.write('abc')", 5.0),
    "does not respond": ("import sys; sys.stdin.buffer.read()", 0.2),
}


@pytest.mark.parametrize(("program", "seconds"), LOST.values(), ids=LOST.keys())
async def test_a_lost_worker_is_a_503_and_leaves_no_process(program, seconds):
    workers, before = BodyWorkers((sys.executable, "-c", program), seconds), set(psutil.Process().children())
    for _ in range(3):
        error = await workers.validate(InferencePath.CHAT, LARGE)
        assert isinstance(error, ErrorResponse)
        assert (error.status, error.code) == (503, "service_unavailable")
    assert set(psutil.Process().children()) <= before
    await workers.close()


async def test_a_client_that_leaves_does_not_confuse_the_next_ones_response(workers):
    leaving = asyncio.create_task(workers.validate(InferencePath.CHAT, LARGE))
    await until(lambda: asyncio.sleep(0, bool(find_workers())))
    leaving.cancel()
    other = json.dumps(chat("y" * 700_000)).encode()
    results = await asyncio.gather(*[workers.validate(InferencePath.CHAT, other) for _ in range(3)])
    assert [result.prompt_bytes for result in results] == [700_000] * 3
