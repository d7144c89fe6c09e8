"""`python -m benchmarks.gateway`: the gateway beside nginx and vllm-router, as tables and as build/bench-gateway.json.

    --quick             at most a minute, for a first impression: fewer and shorter rounds, fewer open streams
    --only SCENARIO     rate, replicas, paced, streams or memory; may be repeated
    --profile           print where the gateway spends its CPU time, by module, function and line, and measure only
                        what `--only` names
    --rounds, --seconds, --held     more or fewer rounds, longer windows, more or fewer open streams
    --router-wheel FILE             install vllm-router from this file
    --without-router                leave vllm-router out

Needs nginx at /usr/sbin/nginx. Exits with 1 if the gateway misses a goal that has no floor, or a floor.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import os
import platform
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.gateway import load, profiling, servers
from benchmarks.gateway.measurements import QUICK, Plan, Rounds, Start, measure
from benchmarks.gateway.processes import place_on_cores
from benchmarks.gateway.servers import BUILD, NGINX, BenchmarkFailed, Machine, install_router, raise_file_limit
from benchmarks.gateway.tables import format_report
from benchmarks.gateway.verdicts import HELD, PACED, RATE, RATE_MANY, STREAMS, Verdict, judge

SCENARIOS = (RATE, RATE_MANY, PACED, STREAMS, HELD)
RESULT = BUILD / "bench-gateway.json"
PROFILE_SECONDS, PROFILE_ROWS = 10.0, 30
FILES_BESIDE_STREAMS = 600  # files of a server beside two for each open stream


def parse_arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--only", action="append", choices=SCENARIOS)
    options.add_argument("--profile", action="store_true")
    options.add_argument("--rounds", type=int)
    options.add_argument("--seconds", type=float)
    options.add_argument("--held", type=int)
    options.add_argument("--router-wheel", type=Path)
    options.add_argument("--without-router", action="store_true")
    return options.parse_args()


def build_plan(given: argparse.Namespace) -> Plan:
    changes = {name: getattr(given, name) for name in ("rounds", "seconds", "held") if getattr(given, name)}
    return dataclasses.replace(QUICK if given.quick else Plan(), **changes)


def main() -> None:
    given = parse_arguments()
    try:
        verdicts = run(given, build_plan(given))
    except BenchmarkFailed as error:
        sys.exit(str(error))
    sys.exit(any(verdict.outcome == "missed" for verdict in verdicts))


def run(given: argparse.Namespace, plan: Plan) -> list[Verdict]:
    if not NGINX.exists():
        raise BenchmarkFailed(f"nginx is not at {NGINX}; install it (Debian: apt-get install nginx-light).")
    notes = []
    scenarios = given.only or (() if given.profile else SCENARIOS)
    problem = None if given.without_router or not scenarios else install_router(given.router_wheel)
    if problem:
        notes.append(f"Without vllm-router: {problem}")
    files = raise_file_limit()
    if files < 2 * plan.held + FILES_BESIDE_STREAMS:
        held = max(0, (files - FILES_BESIDE_STREAMS) // 2)
        notes.append(
            f"A process may open {files:,} files (ulimit -Hn): {held:,} open streams instead of {plan.held:,}."
        )
        plan = dataclasses.replace(plan, held=held)
    cores = place_on_cores(os.sched_getaffinity(0))
    load_average = os.getloadavg()
    started = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-benchmark-")))
        folder.chmod(0o755)  # the worker of nginx is another user
        machine = Machine(folder, cores, stack, files)
        machine.start_replicas(plan.replicas)
        machine.start_valkey()
        os.sched_setaffinity(0, {cores.load})
        gc.disable()
        starts: dict[str, Start] = {"nginx": machine.nginx, "gateway": machine.gateway}
        if not problem and not given.without_router:
            starts = {"nginx": machine.nginx, "vllm-router": machine.router, "gateway": machine.gateway}
        rounds = measure(machine, starts, plan, scenarios, lambda text: print(f"· {text}", flush=True))
        profiles = print_profiles(machine, plan) if given.profile else None
    figures = rounds.summarize()
    verdicts = judge(figures)
    foreign = f"{median(rounds.foreign):.0%}" if rounds.foreign else "an unknown share"
    notes = [
        f"{plan.rounds} rounds of {plan.seconds:g} s, servers in turn; medians (least–greatest). Memory: one round.",
        f"Cores: {cores.describe()}.",
        f"Load average at the start: {load_average[0]:.2f}; other processes used {foreign} of these cores meanwhile.",
        f"Took {time.monotonic() - started:.0f} s.",
        *notes,
    ]
    if verdicts:
        print("\n" + format_report(figures, verdicts, plan, notes))
        write_result(rounds, verdicts, plan, notes, load_average)
    if profiles:
        print("\n" + profiles)
    return verdicts


def print_profiles(machine: Machine, plan: Plan) -> str:
    """The tables of a request and of a chunk."""
    print("· profile", flush=True)

    def requests(target: load.Target, observe: Any) -> Any:
        return load.run_closed_loop(target, plan.connections, PROFILE_SECONDS, observe)

    def streams(target: load.Target, observe: Any) -> Any:
        return load.run_streams(target, plan.streams, plan.chunks, plan.pause, PROFILE_SECONDS, observe)

    parts = []
    for title, runner, count in (
        ("request, not streamed", requests, lambda window: window.responses),
        ("chunk of a stream", streams, lambda window: window.chunks),
    ):
        found, microseconds, samples = profiling.profile(machine, runner, count)
        head = f"Profile of a {title}: {microseconds:,.1f} µs of CPU, from {samples:,} samples"
        parts.append(f"{head}\n\n{profiling.format_profile(found, PROFILE_ROWS)}")
    return "\n\n".join(parts)


def write_result(
    rounds: Rounds, verdicts: list[Verdict], plan: Plan, notes: list[str], load_average: tuple[float, float, float]
) -> None:
    result = {
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()},
        "load_average": load_average,
        "foreign_share": rounds.foreign,
        "plan": dataclasses.asdict(plan),
        "notes": notes,
        "figures": rounds.values,
        "valkey_commands": {
            scenario: {name: {"calls": calls, "us": us} for name, (calls, us) in commands.items()}
            for scenario, commands in rounds.calls.items()
        },
        "verdicts": [dataclasses.asdict(verdict) | {"outcome": verdict.outcome} for verdict in verdicts],
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(f"Every round is in {RESULT.relative_to(servers.ROOT)}.")


if __name__ == "__main__":
    main()
