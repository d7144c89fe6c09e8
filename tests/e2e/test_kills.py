"""SIGKILL at seeded moments while deployments start, roll, scale, sleep, wake, stop and are called: of the console's
processes, its servers, its supervisor, and of single replicas. `oracles` says what must hold when all is quiet again.

KILLS_MOMENTS (100, at least one round of 10) and KILLS_SEED (1) choose how many moments and which; of a seed, fewer
moments are the first ones. In each round every victim is killed once, "steady" rolls, and "elastic" is called until it
has woken and scaled up, then left alone until it has scaled down and sleeps. Each kill follows a sign of what is going
on, such as an event, and each act waits for the state that it needs: a slow machine takes longer and meets the same.
"""

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import oracles
from tests.e2e.clients import Callers
from tests.e2e.oracles import Kill
from tests.e2e.stack import Stack, lives, until

pytestmark = pytest.mark.kills
VICTIMS = (
    "worker",
    "ingest",
    "publish",
    "watch",
    "beat",
    "gateway",
    "web",
    "valkey",
    "postgresql",
    "up",
    "engine",
    "shim",
)
ROUND = len(VICTIMS)
MOMENTS, SEED = max(ROUND, int(os.environ.get("KILLS_MOMENTS", "100"))), int(os.environ.get("KILLS_SEED", "1"))
PATIENCE_SECONDS = 180  # for a state that takes a few seconds on a machine of its own
OUTPUT_TOKENS = 20
CALLERS, CALLERS_OF_ELASTIC = 4, 3
MOST_ALIVE, DELAY_SECONDS, SLEEP_SECONDS = 8, 3, 8  # asleep well after the first step down
PAUSE_SECONDS = 0.5
KILLS_OF_ONE_DEPLOYMENT = 2  # after three failures in ten minutes it is given up, as it should be
GPU_TYPES = (  # 8 of each: nobody has to wait for capacity
    "l4-24gb", "l40s-48gb", "a100-40gb", "a100-80gb", "h100-pcie-80gb", "h100-sxm-80gb", "h200-141gb", "b200-180gb",
    "rtx-4090", "rtx-6000-ada", "mi300x-192gb",
)  # fmt: skip
# The events by which progress is seen, in order. The first of each is there at once.
STARTS = ("created", "replica_requested", "replica_downloading", "replica_initializing", "replica_ready")
ENDS = ("terminate_requested", "replica_draining", "replica_stopped", "terminated")
ROLLS = ("edited", "rollout_started", "rollout_done")
CALLED, LEFT = ("", "woken", "scaled up"), ("", "scaled down", "fell_asleep")


@pytest.fixture
def stack():
    one = Stack(DRAIN_SECONDS="10", SCALE_DOWN_DELAY_FLOOR_SECONDS=str(DELAY_SECONDS), AUTOSCALER_MEAN_SECONDS="4")
    try:
        one.start()
        one.patience_seconds = PATIENCE_SECONDS
        yield one
    finally:
        one.remove()


@dataclass(frozen=True)
class Moment:
    """What is done: "call", "leave", "roll" or "turn"; how far it gets, from 0 to 1, before `victim` is killed `pause`
    seconds later. `chance` draws what else is to be chosen."""

    act: str
    progress: float
    pause: float
    victim: str
    chance: random.Random


def plan(seed: int) -> Iterator[Moment]:
    """Round after round, without end."""
    chance = random.Random(seed)
    while True:
        victims = chance.sample(VICTIMS, ROUND)
        call, leave, roll = chance.randrange(ROUND // 3), chance.randrange(ROUND // 2, ROUND - 1), ROUND // 3 + 1
        acts = {call: "call", leave: "leave", roll: "roll"}
        for place, victim in enumerate(victims):
            act = acts.get(place, "turn")
            yield Moment(act, chance.random(), chance.uniform(0, PAUSE_SECONDS), victim, random.Random(chance.random()))


class Killer:
    """Kills, and keeps the list."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.kills: list[Kill] = []
        self._hit: dict[str, int] = {}

    def strike(self, victim: str, chance: random.Random) -> None:
        if victim in {"engine", "shim"}:
            kill = self._strike_replica(victim, chance)
        elif victim == "up":
            kill = self._strike_up()
        else:
            kill = self._strike_process(victim)
        self.kills.append(kill)

    def _strike_process(self, name: str) -> Kill:
        until(f"{name} runs", lambda: lives(self.stack.read_run_file()["processes"].get(name, 0)), PATIENCE_SECONDS)
        at = time.time()
        self.stack.kill_process(name)
        return Kill(name, at)

    def _strike_up(self) -> Kill:
        processes = [pid for name, pid in self.stack.read_run_file()["processes"].items() if name != "up"]
        replicas = set(self.stack.shims())
        at = time.time()
        self.stack.end(signal.SIGKILL)
        until("its processes died with it", lambda: not [pid for pid in processes if lives(pid)], PATIENCE_SECONDS)
        assert replicas & set(self.stack.shims()) or not replicas, "the replicas died with it"
        self.stack.start()
        return Kill("up", at)

    def _strike_replica(self, what: str, chance: random.Random) -> Kill:
        """The shim, or the engine or download, of a replica whose deployment can stand it."""

        def found() -> list[tuple[str, int, str, str]]:
            fit = [one for one in _programs(self.stack) if self._hit.get(one[3], 0) < KILLS_OF_ONE_DEPLOYMENT]
            return sorted(one for one in fit if one[0] == what)

        _, pid, replica_id, deployment_id = chance.choice(until(f"there is a {what} to kill", found, PATIENCE_SECONDS))
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


@dataclass(frozen=True)
class Course:
    """What is going on with a deployment since an act: `signs` come one after another, as events later than those
    `before`."""

    stack: Stack
    name: str
    signs: tuple[str, ...]
    before: frozenset[str] = field(default_factory=frozenset)

    def wait(self, progress: float = 1.0) -> None:
        """Until it is so far: 0 at once, 1 the last sign. What comes after a sign tells of it too."""
        first = min(int(progress * len(self.signs)), len(self.signs) - 1)
        if first:
            awaited = set(self.signs[first:])
            what = f"{self.name}: {' or '.join(self.signs[first:])}, seed {SEED}"
            until(what, lambda: awaited & self._seen(), PATIENCE_SECONDS)

    def _seen(self) -> set[str]:
        return {_sign(event) for event in self.stack.events(self.name) if event["id"] not in self.before}


def _sign(event: dict[str, Any]) -> str:
    """Its kind; for "scaled" with the direction."""
    if event["kind"] != "scaled":
        return str(event["kind"])
    return "scaled up" if event["data"]["to"] > event["data"]["from"] else "scaled down"


class Churn:
    """Deployments that come, change and go; `wanted` says which are to live, `contexts` what they were edited to.
    `called` and `elastic` are who is called now."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.wanted: dict[str, bool] = {}
        self.contexts: dict[str, int] = {}
        self.called, self.elastic = ["steady"], list[str]()
        stack.deploy("steady", 2)
        asleep_soon = {
            "enabled": True,
            "min_replicas": 0,
            "max_replicas": 3,
            "scale_down_delay_seconds": DELAY_SECONDS,
            "sleep_after_seconds": SLEEP_SECONDS,
        }
        stack.deploy_with(asleep_soon, "elastic", "a10g-24gb", concurrency=1)
        self._elastic_course = Course(stack, "elastic", ("", "fell_asleep"))

    @property
    def alive(self) -> list[str]:
        return [name for name, is_wanted in self.wanted.items() if is_wanted]

    @property
    def gone(self) -> list[str]:
        return [name for name, is_wanted in self.wanted.items() if not is_wanted]

    def begin(self, act: str, chance: random.Random) -> Course:
        """Wait for what `act` needs, do it, and give what it sets going."""
        acts: dict[str, Callable[[random.Random], Course]] = {
            "call": self._call, "leave": self._leave, "roll": self._roll_steady, "turn": self._turn,
        }  # fmt: skip
        return acts[act](chance)

    def _call(self, _: random.Random) -> Course:
        """Once it sleeps, it is woken and gets more to do than one replica can."""
        self._elastic_course.wait()
        self._elastic_course = self._since("elastic", CALLED)
        self.elastic[:] = ["elastic"]
        return self._elastic_course

    def _leave(self, _: random.Random) -> Course:
        """Once it has been scaled up, nobody calls it any more."""
        self._elastic_course.wait()
        self._elastic_course = self._since("elastic", LEFT)
        self.elastic.clear()
        return self._elastic_course

    def _roll_steady(self, _: random.Random) -> Course:
        self.stack.reaches("steady", "RUNNING", seconds=PATIENCE_SECONDS)
        course = self._since("steady", ROLLS)
        self._roll("steady")
        return course

    def _since(self, name: str, signs: tuple[str, ...]) -> Course:
        return Course(self.stack, name, signs, frozenset(event["id"] for event in self.stack.events(name)))

    def _turn(self, chance: random.Random) -> Course:
        """A deployment more, usually one less, sometimes one that rolls or gets another number of replicas."""
        number = len(self.wanted)
        name, replicas = f"churn-{number}", chance.choice((1, 2))
        seconds = {"download_seconds": 0.5, "initialize_seconds": 0.5}
        self.stack.deploy(name, replicas, GPU_TYPES[number % len(GPU_TYPES)], **seconds)
        self.wanted[name] = True
        courses = [Course(self.stack, name, STARTS)]
        if number % 2 or len(self.alive) > MOST_ALIVE or chance.random() < 0.4:
            leaver = chance.choice(self.alive)
            self.wanted[leaver] = False
            self.stack.ask("POST", f"/deployments/{leaver}/terminate")
            courses = [course for course in courses if course.name != leaver] + [Course(self.stack, leaver, ENDS)]
        if chance.random() < 0.4:
            self._roll(chance.choice(["steady", *self.alive]))
        if chance.random() < 0.3 and self.alive:
            count = {"enabled": False, "replicas": chance.choice((1, 2, 3))}
            self.stack.ask("PATCH", f"/deployments/{chance.choice(self.alive)}", {"autoscaling": count})
        self.called[:] = ["steady", *self.alive[-2:]]
        return chance.choice(courses)

    def _roll(self, name: str) -> None:
        self.contexts[name] = self.contexts.get(name, 8192) - 1
        self.stack.ask("PATCH", f"/deployments/{name}", {"engine": {"context_length": self.contexts[name]}})

    def settles(self) -> None:
        """Everything is what was asked for last, and runs the configuration that was."""
        self._elastic_course.wait()
        self.called[:] = ["steady"]
        self.elastic.clear()
        for name, is_wanted in self.wanted.items():
            self.stack.reaches(name, "RUNNING" if is_wanted else "TERMINATED", seconds=PATIENCE_SECONDS)
        self.stack.reaches("elastic", "SLEEPING", seconds=PATIENCE_SECONDS)
        for name in ("steady", *self.alive):
            seen = self.stack.reaches(name, "RUNNING", seconds=PATIENCE_SECONDS)
            assert seen["engine"]["context_length"] == self.contexts.get(name, 8192)
            rows = self.stack.ask("GET", f"/deployments/{name}/replicas")["data"]
            assert {row["revision"] for row in rows if row["state"] == "READY"} == {seen["revision"]}

    def has_seen_everything(self) -> None:
        assert {_sign(event) for event in self.stack.events("elastic")} >= {*CALLED, *LEFT} - {""}
        assert {_sign(event) for event in self.stack.events("steady")} >= set(ROLLS)
        assert self.gone


def test_no_kill_leaves_an_orphan_a_ghost_a_lost_token_or_a_client_in_the_dark(stack):
    churn, killer = Churn(stack), Killer(stack)
    stack.reaches("steady", "RUNNING")
    callers = [_callers(stack, churn.called, CALLERS), _callers(stack, churn.elastic, CALLERS_OF_ELASTIC)]
    began = time.monotonic()
    for number, moment in zip(range(MOMENTS), plan(SEED), strict=False):
        course = churn.begin(moment.act, moment.chance)
        course.wait(moment.progress)
        _pause(moment.pause)
        print(f"{time.monotonic() - began:.1f} s, {number}: {moment.act} {course.name}, kill {moment.victim}")
        killer.strike(moment.victim, moment.chance)
    churn.settles()
    seen = [one for group in callers for one in group.end()]
    assert sum(one.ending == "done" for one in seen) > MOMENTS
    assert {kill.victim for kill in killer.kills} == set(VICTIMS)
    churn.has_seen_everything()

    oracles.no_orphan_and_no_ghost(stack)
    oracles.no_engine_ran_twice(stack)
    oracles.stamps_are_those_of_the_shims(stack, killer.kills)
    oracles.requests_are_counted_once(stack, seen, killer.kills)
    oracles.clients_were_told(seen, killer.kills, OUTPUT_TOKENS, may_be_gone=churn.gone)


def _callers(stack: Stack, models: list[str], count: int) -> Callers:
    """Of `models` as they are at each call."""
    address, key = f"{stack.run['gateway_url']}/v1", stack.run["demo"]["api_keys"]["inference"]
    return Callers(address, key, models, tokens=OUTPUT_TOKENS, count=count)


def _pause(seconds: float) -> None:
    """From the sign to the kill."""
    threading.Event().wait(seconds)
