"""SIGKILL of worker, watch, beat and gateway, one after another at seeded moments, while deployments start and stop.

The oracle is not our own database: every process with CONSOLE_REPLICA_ID in its environment has a live row and every
live row a process; the shim's log says what ran; the ledger's tokens equal the engines' own log.
KILLS_MOMENTS (20) and KILLS_SEED (1) choose how many moments and which.
"""

import os
import random
import threading

import openai
import psycopg
import pytest

from tests.e2e.stack import Stack, until

pytestmark = pytest.mark.kills
MOMENTS, SEED = int(os.environ.get("KILLS_MOMENTS", "20")), int(os.environ.get("KILLS_SEED", "1"))
VICTIMS = ("worker", "watch", "beat", "gateway")
OUTPUT_TOKENS = 20
GPU_TYPES = (  # 8 of each: nobody has to wait for capacity
    "l4-24gb", "l40s-48gb", "a100-40gb", "a100-80gb", "h100-pcie-80gb", "h100-sxm-80gb", "h200-141gb", "b200-180gb",
    "rtx-4090", "rtx-6000-ada", "mi300x-192gb",
)  # fmt: skip
MESSAGES = [{"role": "user", "content": "Count with me"}]
LIVE = {"REQUESTING_GPU", "DOWNLOADING_MODEL", "ENGINE_INITIALIZING", "READY", "DRAINING", "STOPPING"}


class Callers:
    """Clients that call `model` all the time; refusals and cuts are expected while processes are being killed."""

    def __init__(self, stack: Stack, model: str, count: int = 2) -> None:
        self.stop = threading.Event()
        self.completed = 0
        address, key = f"{stack.run['gateway_url']}/v1", stack.run["demo"]["api_keys"]["inference"]
        self.client = openai.OpenAI(base_url=address, api_key=key, max_retries=0, timeout=30)
        self.threads = [threading.Thread(target=self._call, args=(model,), daemon=True) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _call(self, model: str) -> None:
        while not self.stop.is_set():
            try:
                stream = self.client.chat.completions.create(
                    model=model, messages=MESSAGES, max_tokens=OUTPUT_TOKENS, stream=True
                )
                self.completed += sum(1 for chunk in stream if chunk.choices and chunk.choices[0].finish_reason)
            except (openai.APIError, OSError):
                self.stop.wait(0.1)

    def end(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(40)


def test_no_kill_leaves_an_orphan_a_ghost_or_a_lost_token(stack):
    chance = random.Random(SEED)
    stack.deploy("steady")
    stack.reaches("steady", "RUNNING")
    callers = Callers(stack, "steady")
    wanted: dict[str, bool] = {}
    for moment in range(MOMENTS):
        name = f"churn-{moment}"
        gpu = GPU_TYPES[moment % len(GPU_TYPES)]
        stack.deploy(name, chance.choice((1, 2)), gpu, download_seconds=0.5, initialize_seconds=0.5)
        wanted[name] = True
        if moment and chance.random() < 0.7:
            gone = chance.choice([one for one, lives in wanted.items() if lives])
            assert stack.api("POST", f"/deployments/{gone}/terminate")[0] == 202
            wanted[gone] = False
        _pause(chance.uniform(0.0, 1.5))
        victim = VICTIMS[moment % len(VICTIMS)]
        pid = stack.kill_process(victim)
        until(f"{victim} runs again", lambda v=victim, p=pid: stack.read_run_file()["processes"].get(v, p) != p, 20)
    for name, lives in wanted.items():
        stack.reaches(name, "RUNNING" if lives else "TERMINATED", seconds=90)
    callers.end()
    assert callers.completed > MOMENTS

    until("processes and live rows are the same replicas", lambda: _processes(stack) == _live_rows(stack), 30)
    assert _processes(stack)
    _ledger_equals_the_engines_log(stack, len(callers.threads))
    _no_engine_ran_twice(stack)


def _pause(seconds: float) -> None:
    """The seeded moment at which the next process dies."""
    threading.Event().wait(seconds)


def _processes(stack: Stack) -> set[str]:
    return set(stack.engines().values())


def _live_rows(stack: Stack) -> set[str]:
    deployments = stack.api("GET", "/deployments?limit=200")[1]["data"]
    replicas = (stack.api("GET", f"/deployments/{one['id']}/replicas?limit=200")[1]["data"] for one in deployments)
    return {row["id"] for rows in replicas for row in rows if row["state"] in LIVE}


def _ledger_equals_the_engines_log(stack: Stack, callers: int) -> None:
    """A request that a killed gateway left behind is settled as interrupted, with estimates; all others exactly."""
    engine = [one for one in stack.generated() if one["model"] == "steady"]
    until("every request is counted", lambda: len(_ledger(stack)) >= len(engine), 40)
    ledger = _ledger(stack)
    assert len(ledger) == len(engine)
    prompt_tokens = {one["prompt_tokens"] for one in engine}
    exact = [(tokens_in, tokens_out) for outcome, estimated, tokens_in, tokens_out in ledger if not estimated]
    assert set(exact) <= {(prompt, OUTPUT_TOKENS) for prompt in prompt_tokens}
    interrupted = [row for row in ledger if row[1]]
    gateway_kills = sum(VICTIMS[moment % len(VICTIMS)] == "gateway" for moment in range(MOMENTS))
    assert {row[0] for row in interrupted} <= {"interrupted", "client_left", "upstream_error"}
    assert len(interrupted) <= gateway_kills * callers
    aborted = sum(one["outcome"] != "finished" for one in engine)
    assert aborted <= len(interrupted)


def _ledger(stack: Stack) -> list[tuple[str, bool, int, int]]:
    query = "SELECT outcome, estimated, input_tokens, output_tokens FROM billing_usage_event WHERE model = 'steady'"
    with psycopg.connect(stack.run["database_url"]) as connection:
        return connection.execute(query).fetchall()


def _no_engine_ran_twice(stack: Stack) -> None:
    """By each shim's log at most one engine was spawned per replica, and all that ended were noted."""
    for folder in stack.replica_folders():
        lines = (folder / "shim.log").read_text() if (folder / "shim.log").exists() else ""
        assert lines.count('"what": "spawned", "step": "engine"') <= 1, folder.name
