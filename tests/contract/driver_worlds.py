"""The same cluster twice, for the contract suite: in memory with a clock that tests move, and real processes here."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol, TypeVar
from uuid import uuid4

from deployments.drivers.base import Driver, ObservedReplica, ReplicaSpec
from deployments.drivers.local import installation, processes
from deployments.drivers.local.driver import LocalDriver
from deployments.drivers.local.processes import Process
from deployments.drivers.local.replica_folder import Folder
from deployments.drivers.memory import MemoryDriver, Script
from deployments.engines.base import LaunchContext
from deployments.engines.registry import ENGINES
from deployments.engines.simulator.engine import SimulatedBehaviour, SimulatorSettings
from deployments.states import ReplicaState

T = TypeVar("T")
R = ReplicaState
GPUS = {"l4-24gb": 4, "h100-sxm-80gb": 2}
QUICK = SimulatedBehaviour(download_seconds=0.1, initialize_seconds=0.1, ttft_ms=1, itl_ms=1)
PATIENCE_SECONDS = 15.0
INSTALLATION = "0f7c9a52-6f6e-4b55-9f0b-3c0f2a1f7f11"


class World(Protocol):
    """A cluster, and the hands of a test on it."""

    driver: Driver

    def until(self, look: Callable[[], T | None], what: str) -> T:
        """What `look` returns once it returns something; fails after a while."""

    def kill_engine(self, name: str) -> None: ...

    def kill_supervisor(self, name: str) -> None: ...

    def again(self) -> Driver:
        """A driver as another process would have it."""

    def of_another_installation(self) -> Driver:
        """A driver for the same cluster, of a console with another database."""


def spec(
    name: str, *, gpu_type: str = "l4-24gb", gpu_count: int = 1, behaviour: SimulatedBehaviour = QUICK
) -> ReplicaSpec:
    """A replica of the simulator; what it is called says what it is for."""
    settings = SimulatorSettings(context_length=4096, max_concurrency=4, simulator=behaviour)
    context = LaunchContext("demo/tiny", 1_000_000, ("tiny", "demo/tiny"), gpu_count)
    launch = ENGINES["simulator"].launch(settings, context)
    return ReplicaSpec(name, str(uuid4()), f"deployment-of-{name}", "demo", gpu_type, gpu_count, launch)


def ready(world: World, name: str) -> ObservedReplica:
    return world.until(lambda: _when(world, name, lambda seen: seen.state is R.READY and seen.healthy), "ready")


def ended(world: World, name: str) -> ObservedReplica:
    return world.until(lambda: _when(world, name, lambda seen: seen.exited is not None), "ended")


def _when(world: World, name: str, holds: Callable[[ObservedReplica], bool]) -> ObservedReplica | None:
    seen = world.driver.find(name)
    return seen if seen and holds(seen) else None


class MemoryWorld:
    """Time passes only while a test waits for something."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.memory = MemoryDriver(GPUS, lambda: self.now, _script)
        self.driver: Driver = self.memory

    def until(self, look: Callable[[], T | None], what: str) -> T:
        for _ in range(1000):
            found = look()
            if found is not None:
                return found
            self.now += timedelta(seconds=0.05)
        raise AssertionError(f"never {what}")

    def kill_engine(self, name: str) -> None:
        self.memory.kill(name)

    def kill_supervisor(self, name: str) -> None:
        self.memory.kill(name, code=None)

    def again(self) -> Driver:
        return self.memory

    def of_another_installation(self) -> Driver:
        return self.memory.as_installation("another")


def _script(wanted: ReplicaSpec) -> Script:
    """The life that the simulator's arguments describe."""
    command, download = wanted.launch.command, wanted.launch.download or ()
    fault = command[command.index("--fail") + 1] if "--fail" in command else "download" if "--fail" in download else ""
    seconds = float(command[command.index("--initialize-seconds") + 1])
    usual = Script(download_seconds=0.1, initialize_seconds=seconds)
    return {
        "download": Script(download_seconds=0.1, exit_in=R.DOWNLOADING_MODEL, exit_seconds=0.05),
        "initialize": Script(initialize_seconds=9, exit_in=R.ENGINE_INITIALIZING, exit_seconds=seconds),
        "out_of_memory": Script(
            initialize_seconds=9, exit_in=R.ENGINE_INITIALIZING, exit_seconds=seconds, log=("CUDA out of memory",)
        ),
        "crash": Script(download_seconds=0.1, initialize_seconds=seconds, exit_seconds=1.0),
    }.get(fault, usual)


class LocalWorld:
    """Real shims and engines below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        installation.write(folder, INSTALLATION)
        self.driver: Driver = LocalDriver(folder, GPUS, INSTALLATION)
        self._known: set[Process] = set()

    def until(self, look: Callable[[], T | None], what: str) -> T:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            found = look()
            if found is not None:
                return found
            time.sleep(0.02)
        raise AssertionError(f"not {what} after {PATIENCE_SECONDS:g} s")

    def shim(self, name: str) -> Process:
        state = Folder(self.folder / name).state()
        assert state is not None
        return state.shim

    def engine(self, name: str) -> Process:
        state = Folder(self.folder / name).state()
        assert state is not None
        assert state.program is not None
        return state.program

    def kill_engine(self, name: str) -> None:
        os.kill(self.engine(name).pid, signal.SIGKILL)

    def kill_supervisor(self, name: str) -> None:
        os.kill(self.shim(name).pid, signal.SIGKILL)

    def again(self) -> Driver:
        return LocalDriver(self.folder, GPUS, INSTALLATION)

    def of_another_installation(self) -> Driver:
        return LocalDriver(self.folder, GPUS, "another")

    def close(self) -> None:
        """End every process that a test left running."""
        for path in self.folder.iterdir() if self.folder.exists() else ():
            folder = Folder(path)
            intent, state = (folder.intent(), folder.state()) if path.is_dir() else (None, None)
            if state:
                state.shim.signal(signal.SIGKILL)
            while intent and processes.kill_replica(intent.replica_id):
                time.sleep(0.01)


def local(folder: Path) -> Iterator[LocalWorld]:
    world = LocalWorld(folder)
    yield world
    world.close()
