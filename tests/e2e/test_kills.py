"""SIGKILL at seeded moments while deployments start, roll, scale, sleep, wake, stop and are called: of the console's
processes, its servers, its supervisor, and of single replicas. `oracles` says what must hold when all is quiet again.

KILLS_MOMENTS (100) and KILLS_SEED (1) choose how many moments and which. Of a seed, fewer moments are the first ones.
"""

import json
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import oracles
from tests.e2e.clients import Callers
from tests.e2e.oracles import Kill
from tests.e2e.stack import Stack, lives, until

pytestmark = pytest.mark.kills
MOMENTS, SEED = int(os.environ.get("KILLS_MOMENTS", "100")), int(os.environ.get("KILLS_SEED", "1"))
VICTIMS = ("worker", "watch", "beat", "gateway", "web", "valkey", "postgresql", "up", "replica")
OUTPUT_TOKENS = 20
CALLERS = 4
MOST_ALIVE, BUSY_MOMENTS, DELAY_SECONDS = 8, 4, 3
ENOUGH_MOMENTS = 20  # in which everything comes about once
KILLS_OF_ONE_DEPLOYMENT = 2  # after three failures in ten minutes it is given up, as it should be
GPU_TYPES = (  # 8 of each: nobody has to wait for capacity
    "l4-24gb", "l40s-48gb", "a100-40gb", "a100-80gb", "h100-pcie-80gb", "h100-sxm-80gb", "h200-141gb", "b200-180gb",
    "rtx-4090", "rtx-6000-ada", "mi300x-192gb",
)  # fmt: skip


@pytest.fixture
def stack():
    one = Stack(DRAIN_SECONDS="10", SCALE_DOWN_DELAY_FLOOR_SECONDS=str(DELAY_SECONDS), AUTOSCALER_MEAN_SECONDS="4")
    try:
        one.start()
        one.patience_seconds = 60
        yield one
    finally:
        one.remove()


class Killer:
    """Chooses whom to kill, each victim once in a round, and keeps the list."""

    def __init__(self, stack: Stack, chance: random.Random) -> None:
        self.stack, self.chance = stack, chance
        self.kills: list[Kill] = []
        self._round: list[str] = []
        self._hit: dict[str, int] = {}

    def strike(self) -> Kill:
        if not self._round:
            self._round = self.chance.sample(VICTIMS, len(VICTIMS))
        victim = self._round.pop()
        if victim == "replica":
            kill = self._strike_replica()
        elif victim == "up":
            kill = self._strike_up()
        else:
            kill = self._strike_process(victim)
        self.kills.append(kill)
        return kill

    def _strike_process(self, name: str) -> Kill:
        until(f"{name} runs", lambda: lives(self.stack.read_run_file()["processes"].get(name, 0)), 40)
        at = time.time()
        self.stack.kill_process(name)
        return Kill(name, at)

    def _strike_up(self) -> Kill:
        processes = [pid for name, pid in self.stack.read_run_file()["processes"].items() if name != "up"]
        replicas = set(self.stack.shims())
        at = time.time()
        self.stack.end(signal.SIGKILL)
        until("its processes died with it", lambda: not [pid for pid in processes if lives(pid)], 10)
        assert replicas & set(self.stack.shims()) or not replicas, "the replicas died with it"
        self.stack.start()
        return Kill("up", at)

    def _strike_replica(self) -> Kill:
        """The engine, the download or the shim of a replica whose deployment can stand it."""
        found: list[tuple[str, int, str, str]] = []

        def look() -> bool:
            found[:] = [one for one in _programs(self.stack) if self._hit.get(one[3], 0) < KILLS_OF_ONE_DEPLOYMENT]
            return bool(found)

        until("there is a replica to kill", look, 60)
        what, pid, replica_id, deployment_id = self.chance.choice(sorted(found))
        self._hit[deployment_id] = self._hit.get(deployment_id, 0) + 1
        at = time.time()
        os.kill(pid, signal.SIGKILL)
        return Kill(what, at, replica_id)


def _programs(stack: Stack) -> list[tuple[str, int, str, str]]:
    """("engine" | "shim", process id, replica id, deployment id) of every replica that runs and is to run on."""
    found, deployments = [], {}
    for folder in stack.replica_folders():
        intent, state = _record(folder / "intent.json"), _record(folder / "state.json")
        if intent and state and not state.get("exited") and not (folder / "stop.json").exists():
            deployments[intent["replica_id"]] = intent["deployment_id"]
            found.append(("shim", state["shim"]["pid"], intent["replica_id"], intent["deployment_id"]))
    engines = ((pid, one) for pid, one in stack.engines().items() if one in deployments)
    found += [("engine", pid, one, deployments[one]) for pid, one in engines]
    return [one for one in found if lives(one[1])]


def _record(path: Path) -> dict[str, Any]:
    """A file of a replica's folder; empty when it was forgotten meanwhile."""
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    return record


class Churn:
    """Deployments that come, change and go; `wanted` says which are to live, `contexts` what they were edited to."""

    def __init__(self, stack: Stack, chance: random.Random) -> None:
        self.stack, self.chance = stack, chance
        self.wanted: dict[str, bool] = {}
        self.contexts: dict[str, int] = {}
        stack.deploy("steady", 2)
        asleep_soon = {"enabled": True, "min_replicas": 0, "max_replicas": 3, "scale_down_delay_seconds": DELAY_SECONDS}
        stack.deploy_with(asleep_soon, "elastic", "a10g-24gb", concurrency=1)

    @property
    def alive(self) -> list[str]:
        return [name for name, is_wanted in self.wanted.items() if is_wanted]

    @property
    def gone(self) -> list[str]:
        return [name for name, is_wanted in self.wanted.items() if not is_wanted]

    def called(self, moment: int) -> list[str]:
        """Who is called now: "elastic" for a while and then for a while not, so that it scales, sleeps and wakes."""
        is_busy = moment // BUSY_MOMENTS % 2 == 0
        return ["steady", *self.alive[-2:], *(["elastic"] if is_busy else [])]

    def turn(self) -> None:
        """A deployment more, usually one less, sometimes one that rolls or gets another number of replicas."""
        number = len(self.wanted)
        name, replicas = f"churn-{number}", self.chance.choice((1, 2))
        seconds = {"download_seconds": 0.5, "initialize_seconds": 0.5}
        self.stack.deploy(name, replicas, GPU_TYPES[number % len(GPU_TYPES)], **seconds)
        self.wanted[name] = True
        if len(self.alive) > MOST_ALIVE or (number and self.chance.random() < 0.7):
            leaver = self.chance.choice(self.alive)
            self.wanted[leaver] = False
            self.stack.ask("POST", f"/deployments/{leaver}/terminate")
        if self.chance.random() < 0.4:
            self.roll(self.chance.choice(["steady", *self.alive]))
        if self.chance.random() < 0.3 and self.alive:
            count = {"enabled": False, "replicas": self.chance.choice((1, 2, 3))}
            self.stack.ask("PATCH", f"/deployments/{self.chance.choice(self.alive)}", {"autoscaling": count})

    def roll(self, name: str) -> None:
        self.contexts[name] = self.contexts.get(name, 8192) - 1
        self.stack.ask("PATCH", f"/deployments/{name}", {"engine": {"context_length": self.contexts[name]}})

    def settles(self) -> None:
        """Everything is what was asked for last, and runs the configuration that was."""
        for name, is_wanted in self.wanted.items():
            self.stack.reaches(name, "RUNNING" if is_wanted else "TERMINATED", seconds=120)
        self.stack.reaches("elastic", "SLEEPING", seconds=120)
        assert self.stack.events("elastic", "woken") or MOMENTS < ENOUGH_MOMENTS
        assert self.stack.events("elastic", "scaled") or MOMENTS < ENOUGH_MOMENTS
        for name in ("steady", *self.alive):
            seen = self.stack.reaches(name, "RUNNING", seconds=120)
            assert seen["engine"]["context_length"] == self.contexts.get(name, 8192)
            rows = self.stack.ask("GET", f"/deployments/{name}/replicas")["data"]
            assert {row["revision"] for row in rows if row["state"] == "READY"} == {seen["revision"]}


def test_no_kill_leaves_an_orphan_a_ghost_a_lost_token_or_a_client_in_the_dark(stack):
    chance = random.Random(SEED)
    churn, killer = Churn(stack, chance), Killer(stack, chance)
    stack.reaches("steady", "RUNNING")
    callers = _callers(stack)
    for moment in range(MOMENTS):
        churn.turn()
        callers.models[:] = churn.called(moment)
        _pause(chance.uniform(0.0, 1.5))
        killer.strike()
    callers.models[:] = ["steady"]
    churn.settles()
    seen = callers.end()
    assert sum(one.ending == "done" for one in seen) > MOMENTS

    oracles.no_orphan_and_no_ghost(stack)
    oracles.no_engine_ran_twice(stack)
    oracles.stamps_are_those_of_the_shims(stack, killer.kills)
    oracles.requests_are_counted_once(stack, seen, killer.kills)
    oracles.clients_were_told(seen, killer.kills, OUTPUT_TOKENS, may_be_gone=churn.gone)


def _callers(stack: Stack) -> Callers:
    address, key = f"{stack.run['gateway_url']}/v1", stack.run["demo"]["api_keys"]["inference"]
    return Callers(address, key, ["steady"], tokens=OUTPUT_TOKENS, count=CALLERS)


def _pause(seconds: float) -> None:
    """The seeded moment at which the next process dies."""
    threading.Event().wait(seconds)
