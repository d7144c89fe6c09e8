"""What is measured, and in which order: every round visits every server, beginning with another one each time."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import uvloop

from benchmarks.gateway import load, processes
from benchmarks.gateway.load import Target, Window
from benchmarks.gateway.servers import KEY, Machine, Server, Valkey, name_model
from benchmarks.gateway.statistics import Spread, percentile, summarize
from benchmarks.gateway.verdicts import (
    CHUNK_CPU,
    HELD,
    PACED,
    RATE,
    RATE_MANY,
    REQUEST_CPU,
    STREAM_MEMORY,
    STREAMS,
)

DIRECT = "direct"  # the replica without a server before it
WARM_UP_SECONDS = 0.5
HOLD_SECONDS = 2.0  # from the last opened stream to the reading of the memory
HOLD_PAUSE = 10.0  # seconds between two chunks of a held stream


@dataclass(frozen=True)
class Plan:
    """How much is measured; `seconds` of each window."""

    rounds: int = 7
    seconds: float = 1.0
    connections: int = 64
    per_second: float = 2000.0
    streams: int = 128
    chunks: int = 64
    pause: float = 0.02
    held: int = 5000
    replicas: int = 64


QUICK = Plan(rounds=2, seconds=0.7, held=500)
Start = Callable[[int], AbstractContextManager[Server]]
Run = Callable[[Target, Callable[[], "Observation"]], Coroutine[Any, Any, Window["Observation"]]]


@dataclass(frozen=True)
class Observation:
    """What has been used at one moment, in seconds; `resident` of the server, in bytes."""

    server: float
    server_user: float
    server_system: float
    resident: int
    load: float
    replica: float
    valkey: float
    valkey_commands: float
    busy: float
    calls: Mapping[str, tuple[int, float]]


def observe(machine: Machine, server: Server, valkey: Valkey | None) -> Observation:
    """`valkey`: None if the server has none."""
    user, system = processes.read_system_share(server.pids)
    in_commands, calls = valkey.read_command_seconds() if valkey else (0.0, {})
    return Observation(
        server=processes.read_cpu_seconds(server.pids),
        server_user=user,
        server_system=system,
        resident=processes.read_resident_bytes(server.pids),
        load=processes.read_cpu_seconds([os.getpid()]),
        replica=processes.read_cpu_seconds([machine.replica_pid]),
        valkey=processes.read_cpu_seconds([valkey.pid]) if valkey else 0.0,
        valkey_commands=in_commands,
        busy=processes.read_busy_seconds(set(vars(machine.cores).values())),
        calls=calls,
    )


@dataclass
class Rounds:
    """The figures of all rounds: scenario → server → figure → one value a round."""

    values: dict[str, dict[str, dict[str, list[float]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    )
    foreign: list[float] = field(default_factory=list)
    calls: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)

    def add(self, scenario: str, server: str, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self.values[scenario][server][name].append(value)

    def summarize(self) -> dict[str, dict[str, dict[str, Spread]]]:
        return {
            scenario: {
                server: {name: summarize(values) for name, values in figures.items()}
                for server, figures in servers.items()
            }
            for scenario, servers in self.values.items()
        }


def measure(
    machine: Machine, starts: Mapping[str, Start], plan: Plan, scenarios: Iterable[str], say: Callable[[str], None]
) -> Rounds:
    """Measure `scenarios`, names of `verdicts`, on every server of `starts`."""
    wanted, rounds = set(scenarios), Rounds()
    closed_loop: Run = partial(_closed_loop, plan=plan)
    if wanted & {RATE, PACED, STREAMS}:
        with ExitStack() as stack:
            servers = [stack.enter_context(warm(start(1), plan)) for start in starts.values()]
            direct = Server(DIRECT, Target(machine.replica_ports[0], name_model(1), KEY), (machine.replica_pid,))
            if RATE in wanted:
                say(f"{RATE}: {plan.connections} connections, one replica")
                for server, window in visit(machine, servers, plan, closed_loop, rounds):
                    record_requests(rounds, RATE, server, window)
            if PACED in wanted:
                say(f"{PACED}: {plan.per_second:,.0f} requests/s at fixed moments")
                measure_latency(machine, [direct, *servers], plan, rounds)
            if STREAMS in wanted:
                say(f"{STREAMS}: {plan.streams} streams, a chunk every {plan.pause * 1000:.0f} ms")
                for server, window in visit(machine, servers, plan, partial(_streams, plan=plan), rounds):
                    record_streams(rounds, server, window, plan.chunks)
    if RATE_MANY in wanted:
        say(f"{RATE_MANY}: {plan.connections} connections, {plan.replicas} replicas")
        with ExitStack() as stack:
            servers = [stack.enter_context(warm(start(plan.replicas), plan)) for start in starts.values()]
            for server, window in visit(machine, servers, plan, closed_loop, rounds):
                record_requests(rounds, RATE_MANY, server, window)
    if HELD in wanted:
        say(f"{HELD}: {plan.held:,} slow streams, each server fresh")
        for start in starts.values():
            with warm(start(1), plan) as server:
                measure_memory(machine, server, plan, rounds)
    return rounds


@contextmanager
def warm(starting: AbstractContextManager[Server], plan: Plan) -> Iterator[Server]:
    """Send load to the server before it is measured."""
    with starting as server:
        uvloop.run(load.run_closed_loop(server.target, plan.connections, WARM_UP_SECONDS, lambda: None))
        yield server


def visit(
    machine: Machine, servers: Sequence[Server], plan: Plan, run: Run, rounds: Rounds
) -> Iterator[tuple[Server, Window[Observation]]]:
    """Yield the window of each server in every round."""
    for number in range(plan.rounds):
        shift = number % len(servers)
        for server in [*servers[shift:], *servers[:shift]]:
            valkey = machine.valkey if server.name == "gateway" else None
            window = uvloop.run(run(server.target, lambda: observe(machine, server, valkey)))  # noqa: B023
            rounds.foreign.append(foreign_share(machine, server, window))
            yield server, window


async def _closed_loop(target: Target, observe: Callable[[], Observation], plan: Plan) -> Window[Observation]:
    return await load.run_closed_loop(target, plan.connections, plan.seconds, observe)


async def _paced(target: Target, observe: Callable[[], Observation], plan: Plan) -> Window[Observation]:
    return await load.run_paced(target, plan.connections, plan.per_second, plan.seconds, observe)


async def _streams(target: Target, observe: Callable[[], Observation], plan: Plan) -> Window[Observation]:
    return await load.run_streams(target, plan.streams, plan.chunks, plan.pause, plan.seconds, observe)


def record_requests(rounds: Rounds, scenario: str, server: Server, window: Window[Observation]) -> None:
    before, after, count = window.before, window.after, max(window.responses, 1)
    figures = {
        REQUEST_CPU: (after.server - before.server) / count * 1e6,
        "system_share": system_share(window),
        "requests_per_second": window.responses / window.seconds,
        "server_core": (after.server - before.server) / window.seconds,
        "load_core": (after.load + after.replica + after.valkey - before.load - before.replica - before.valkey)
        / window.seconds,
        "failed": window.failed,
    }
    if after.calls:
        figures |= {
            "valkey_cpu_us": (after.valkey - before.valkey) / count * 1e6,
            "valkey_commands_us": (after.valkey_commands - before.valkey_commands) / count * 1e6,
        }
        rounds.calls[scenario] = subtract_calls(after.calls, before.calls, count)
    rounds.add(scenario, server.name, figures)


def system_share(window: Window[Observation]) -> float:
    """The share of the server's CPU time that the kernel has used for it."""
    user = window.after.server_user - window.before.server_user
    system = window.after.server_system - window.before.server_system
    return system / (user + system) if user + system else 0.0


def subtract_calls(
    after: Mapping[str, tuple[int, float]], before: Mapping[str, tuple[int, float]], requests: int
) -> dict[str, tuple[float, float]]:
    """Per command (calls, µs) of one request, for commands that were called."""
    found = {}
    for name, (calls, seconds) in after.items():
        calls_before, seconds_before = before.get(name, (0, 0.0))
        if calls > calls_before:
            found[name] = (calls - calls_before) / requests, (seconds - seconds_before) / requests * 1e6
    return found


def record_streams(rounds: Rounds, server: Server, window: Window[Observation], chunks: int) -> None:
    used = (window.after.server - window.before.server) * 1e6
    figures = {
        CHUNK_CPU: used / max(window.chunks, 1),
        "stream_us": used / max(window.chunks, 1) * chunks,
        "system_share": system_share(window),
        "chunks_per_second": window.chunks / window.seconds,
        "server_core": used / 1e6 / window.seconds,
        "failed": window.failed,
    }
    rounds.add(STREAMS, server.name, figures)


def measure_latency(machine: Machine, servers: Sequence[Server], plan: Plan, rounds: Rounds) -> None:
    """`servers` begins with the replica itself; what a server adds is the difference to it within the same round."""
    for server, window in visit(machine, servers, plan, partial(_paced, plan=plan), rounds):
        latencies = window.latencies or [plan.seconds]
        figures = {f"p{percent}_ms": percentile(latencies, percent) * 1000 for percent in (50, 99)}
        figures[REQUEST_CPU] = (window.after.server - window.before.server) / max(window.responses, 1) * 1e6
        rounds.add(PACED, server.name, figures | {"failed": window.failed, "unanswered": window.unanswered})
    direct = rounds.values[PACED][DIRECT]
    for server in servers[1:]:
        for percent in (50, 99):
            pairs = zip(rounds.values[PACED][server.name][f"p{percent}_ms"], direct[f"p{percent}_ms"], strict=True)
            for through, without in pairs:
                rounds.add(PACED, server.name, {f"added_p{percent}_ms": through - without})


def measure_memory(machine: Machine, server: Server, plan: Plan, rounds: Rounds) -> None:
    hold = load.hold_streams(
        server.target, plan.held, HOLD_PAUSE, HOLD_SECONDS, lambda: processes.read_resident_bytes(server.pids)
    )
    window = uvloop.run(hold)
    figures = {
        STREAM_MEMORY: (window.after - window.before) / max(window.responses, 1) / 1000,
        "resident_mb": window.before / 1e6,
        "open": window.responses,
        "failed": window.failed,
    }
    rounds.add(HELD, server.name, figures)


def foreign_share(machine: Machine, server: Server, window: Window[Observation]) -> float:
    """The share of the pinned cores that processes other than these have used, 0 to 1."""
    before, after = window.before, window.after
    own = after.server - before.server + after.load - before.load + after.valkey - before.valkey
    if server.name != DIRECT:
        own += after.replica - before.replica
    capacity = len(set(vars(machine.cores).values())) * window.seconds
    return max(0.0, (after.busy - before.busy - own) / capacity)
