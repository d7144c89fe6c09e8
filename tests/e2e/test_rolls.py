"""Rolling edits under long streams: nobody is cut off, and while a replica is killed nobody is left in the dark."""

import asyncio
import os
import signal
import time
from collections.abc import Callable

import openai
import pytest

from tests.e2e import oracles
from tests.e2e.clients import Background, Ending, Seen, call, client
from tests.e2e.oracles import Kill
from tests.e2e.stack import Stack, until

pytestmark = pytest.mark.survive
BEFORE, MEANWHILE, EVERY_SECONDS = 56, 20, 0.4
TOKENS, ITL_MS, TTFT_MS = 54, 200, 1000
LONG_SECONDS, MANY = 10, 50


def test_a_rolling_edit_cuts_no_stream(stack):
    seen = _roll(stack, "rolls", "l40s-48gb", lambda: None)
    assert [one for one in seen if one.ending is not Ending.DONE or one.tokens != TOKENS] == []
    assert _overlapping(seen) >= MANY
    oracles.requests_are_counted_once(stack, seen)
    oracles.stamps_are_those_of_the_shims(stack)


def test_a_replica_killed_in_a_rolling_edit_leaves_nobody_in_the_dark(stack):
    kills: list[Kill] = []
    name = "rolls-and-falls"
    seen = _roll(stack, name, "a100-80gb", lambda: kills.append(_kill_one(stack, name)))
    lost = [one for one in seen if one.ending is not Ending.DONE]
    assert lost
    assert all(one.ending is Ending.TOLD and one.code == "upstream_lost" for one in lost), lost
    assert all(0 < one.first_at <= kills[0].at + 0.5 for one in lost), "who had not begun is answered"
    assert all(one.tokens == TOKENS for one in seen if one.ending is Ending.DONE)
    oracles.requests_are_counted_once(stack, seen, kills)
    oracles.stamps_are_those_of_the_shims(stack, kills)
    oracles.no_orphan_and_no_ghost(stack)


def _roll(stack: Stack, name: str, gpu: str, meanwhile: Callable[[], None]) -> list[Seen]:
    """Edit a deployment of two replicas under BEFORE streams, with MEANWHILE more while it rolls: what they saw."""
    pace = {"ttft_ms": TTFT_MS, "itl_ms": ITL_MS, "initialize_seconds": 1}
    stack.deploy_with({"enabled": False, "replicas": 2}, name, gpu, concurrency=64, **pace)
    stack.reaches(name, "RUNNING")
    background = Background()
    api = client(f"{stack.run['gateway_url']}/v1", stack.run["demo"]["api_keys"]["inference"])
    seen = [Seen(name) for _ in range(BEFORE + MEANWHILE)]
    works = background.begin_all(call(api, name, TOKENS, seen=one) for one in seen[:BEFORE])
    until("all streams have begun", lambda: all(one.first_at for one in seen[:BEFORE]), 20)
    stack.ask("PATCH", f"/deployments/{name}", {"engine": {"context_length": 4096}})
    works += background.begin_all(_later(api, one, index * EVERY_SECONDS) for index, one in enumerate(seen[BEFORE:]))
    until("it rolls", lambda: stack.events(name, "rollout_started"))
    meanwhile()
    for work in works:
        work.result(120)
    background.close()
    until("it has rolled", lambda: stack.events(name, "rollout_done"))
    assert stack.reaches(name, "RUNNING")["replicas"] == {"desired": 2, "ready": 2, "total": 2}
    assert {row["revision"] for row in _replicas(stack, name) if row["state"] == "READY"} == {2}
    return seen


async def _later(api: openai.AsyncOpenAI, seen: Seen, seconds: float) -> Seen:
    await asyncio.sleep(seconds)
    return await call(api, seen.model, TOKENS, seen=seen)


def _overlapping(seen: list[Seen]) -> int:
    """The most streams of LONG_SECONDS and more that ran at one moment."""
    long = [one for one in seen if one.ended_at - one.first_at >= LONG_SECONDS]
    return max(sum(other.first_at <= one.first_at <= other.ended_at for other in long) for one in long)


def _replicas(stack: Stack, name: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = stack.ask("GET", f"/deployments/{name}/replicas")["data"]
    return rows


def _kill_one(stack: Stack, name: str) -> Kill:
    """SIGKILL to the engine of a replica of the revision that leaves, which has streams."""
    old = {row["id"] for row in _replicas(stack, name) if row["revision"] == 1 and row["state"] == "READY"}
    pid, replica_id = next((pid, one) for pid, one in stack.engines().items() if one in old)
    at = time.time()
    os.kill(pid, signal.SIGKILL)
    return Kill("engine", at, replica_id)
