"""What a driver is: it starts, stops and shows replicas, and decides nothing. Pure: records and one protocol.

*Start* means create-or-confirm by name; stopping what is gone succeeds. A driver knows no ORM; names, ids and argv
arrive in a `ReplicaSpec`. All times are aware UTC; sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from deployments.states import ReplicaState


class DriverError(Exception):
    """The cluster could not do it. `retryable`: the same call may succeed later."""

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable


@dataclass(frozen=True)
class Launch:
    """How an engine runs on one replica, made by engines/.

    `{port}` in `command` and in values of `environment` is replaced by the port that the driver chose. `download` is
    a program that prints one JSON object per line, `{"done": bytes, "total": bytes}`, and exits 0; None: no such step.
    """

    command: tuple[str, ...]
    health_path: str
    metrics_path: str
    download: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    image: str = ""


@dataclass(frozen=True)
class ReplicaSpec:
    """One replica to start. `name` is deterministic from `replica_id`; labels serve the sweep."""

    name: str
    replica_id: str
    deployment_id: str
    organization_id: str
    gpu_type: str
    gpu_count: int
    launch: Launch


@dataclass(frozen=True)
class ExitRecord:
    """How a replica ended, by the provider's record. `code` is None when nobody reaped it."""

    at: datetime
    code: int | None
    step: str  # "download" or "engine"
    out_of_memory: bool = False


@dataclass(frozen=True)
class ObservedReplica:
    """What the provider says of one replica now.

    `state` is one of the starting states or READY while it lives; with `exited` it is the last phase it reached.
    `stamps` maps each state it has entered to the provider's time. `healthy` is the latest probe of the health path.
    """

    name: str
    replica_id: str
    deployment_id: str
    state: ReplicaState
    stamps: Mapping[ReplicaState, datetime]
    heartbeat_at: datetime
    healthy: bool = False
    node: str = ""
    address: str = ""
    gpu_indices: tuple[int, ...] = ()
    bytes_done: int | None = None
    bytes_total: int | None = None
    restarts: int = 0
    exited: ExitRecord | None = None
    log_tail: str = ""


@dataclass(frozen=True)
class Observation:
    """A listing of everything that carries our label. `complete` is False when a part could not be read."""

    replicas: tuple[ObservedReplica, ...]
    listed_at: datetime
    complete: bool = True


@dataclass(frozen=True)
class Capacity:
    """GPUs by type id. `simulated`: declared, not found on the hardware."""

    gpus: Mapping[str, int]
    simulated: bool


@dataclass(frozen=True)
class ReplicaChanged:
    """A hint from `watch`: something about this deployment changed. It carries no facts."""

    deployment_id: str


@dataclass(frozen=True)
class LogLine:
    at: datetime | None
    text: str


class Driver(Protocol):
    """One cluster. Every method may raise `DriverError`."""

    staleness_seconds: float

    def observe(self) -> Observation: ...

    def find(self, name: str) -> ObservedReplica | None:
        """A look-up by name: confirms absence where the listing may be stale."""

    def watch(self) -> Iterator[ReplicaChanged]:
        """Blocks and yields a hint at each change, for ever."""

    def start(self, spec: ReplicaSpec) -> None:
        """Create the replica, or confirm that it exists."""

    def stop(self, name: str, grace_seconds: float) -> None:
        """Ask it to end: terminate, then kill after the grace. Returns at once; absence is observed later."""

    def forget(self, name: str) -> None:
        """Remove the provider's record of a replica that has ended and been recorded."""

    def logs(self, name: str, *, follow: bool, tail: int, since: datetime | None = None) -> Iterator[LogLine]:
        """The last `tail` lines, of which those before `since` may be left out, then, with `follow`, what is added
        until the replica has ended. Times never go back within a log."""

    def capacity(self) -> Capacity: ...

    def check(self) -> None:
        """Raise when the cluster cannot be used; the message says why."""
