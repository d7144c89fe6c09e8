"""The files of a replica: what the driver requests (intent, stop), what the shim reports (state), and the logs.

    intent.json   written once by the driver, before the shim starts
    stop.json     written by the driver to stop the replica
    state.json    replaced by the shim at every change and every second
    shim.lock     held by the shim while it runs
    shim.log      JSON lines appended by the shim: its actions, with times
    engine.log    output of download and engine, each line with its time; engine.log.1 is the previous file

Standard library only, as the shim uses it too. Times are ISO 8601 in UTC.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from deployments.drivers.local.processes import Process

Record = TypeVar("Record", "Intent", "Stop", "State", "Exit", Process)


def now() -> datetime:
    """The clock of driver and shim."""
    return datetime.now(UTC)  # noqa: TID251


class Unreadable(Exception):
    """A file of the folder cannot be parsed."""


@dataclass(frozen=True)
class Intent:
    """What to run, and for which installation. `command`, `download` and `environment` are complete."""

    name: str
    replica_id: str
    deployment_id: str
    organization_id: str
    asked_at: str
    gpu_type: str
    gpu_indices: list[int]
    port: int
    command: list[str]
    download: list[str] | None
    health_path: str
    environment: dict[str, str]
    installation_id: str = ""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@dataclass(frozen=True)
class Stop:
    """A request to stop: terminate, then kill after the grace period."""

    asked_at: str
    grace_seconds: float


@dataclass(frozen=True)
class Exit:
    """How it ended. `code`: the exit code, the negated signal, or None when the exit was not observed;
    `machine_restarted`: the machine has started again since its shim last wrote its state."""

    at: str
    code: int | None
    step: str
    machine_restarted: bool = False


@dataclass(frozen=True)
class State:
    """What the shim reports. `stamps`: the times of the states that it entered; `program`: the process of the current
    step; `boot_id`: of the machine since its last start."""

    shim: Process
    heartbeat_at: str
    stamps: dict[str, str]
    program: Process | None = None
    healthy: bool = False
    bytes_done: int | None = None
    bytes_total: int | None = None
    boot_id: str = ""
    exited: Exit | None = None


@dataclass(frozen=True)
class Folder:
    """The files of one replica."""

    path: Path
    lock_path: Path = field(init=False)
    log_path: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lock_path", self.path / "shim.lock")
        object.__setattr__(self, "log_path", self.path / "engine.log")

    def intent(self) -> Intent | None:
        data = self._read("intent.json")
        return _build(Intent, data) if data is not None else None

    def stop(self) -> Stop | None:
        data = self._read("stop.json")
        return _build(Stop, data) if data is not None else None

    def state(self) -> State | None:
        data = self._read("state.json")
        if data is None:
            return None
        shim, program, exited = data.pop("shim", {}), data.pop("program", None), data.pop("exited", None)
        nested = {
            "shim": _build(Process, shim),
            "program": _build(Process, program) if program else None,
            "exited": _build(Exit, exited) if exited else None,
        }
        return _build(State, data | nested)

    def write(self, name: str, record: Intent | Stop | State, *, durable: bool = True) -> None:
        """Replace a file atomically, readable by its owner only. `durable`: synced to disk before this returns."""
        draft = self.path / f".{name}.{os.getpid()}"
        with open(draft, "w", opener=_open_private) as file:
            json.dump(asdict(record), file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        draft.replace(self.path / name)
        if durable:
            sync_folder(self.path)

    def note(self, what: str, **facts: object) -> None:
        """Append a line to the shim's log."""
        line = json.dumps({"at": now().isoformat(), "what": what, **facts})
        with (self.path / "shim.log").open("a") as file:
            file.write(line + "\n")

    def try_lock(self) -> int | None:
        """Take the lock that a shim holds while it runs; returns its file descriptor, None if it is held."""
        descriptor = os.open(self.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            data = json.loads((self.path / name).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:
            raise Unreadable(f"{self.path / name} is not JSON: {error}") from error
        if not isinstance(data, dict):
            raise Unreadable(f"{self.path / name} is not an object")
        return data


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _build(kind: type[Record], data: Mapping[str, Any]) -> Record:
    """A record from its JSON; unknown fields, of a newer driver, are ignored."""
    try:
        return kind(**{name: data[name] for name in kind.__dataclass_fields__ if name in data})
    except TypeError as error:
        raise Unreadable(f"not a {kind.__name__}: {error}") from error
