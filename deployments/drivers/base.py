"""The driver interface: a driver starts, stops and lists replicas and decides nothing. Pure: records and a protocol.

*Start* means create-or-confirm by name; stopping an absent replica succeeds. A driver knows no ORM; names, ids and argv
arrive in a `ReplicaSpec`. All times are aware UTC; sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from deployments.codes import ClusterProblem
from deployments.states import ReplicaState


class DriverError(Exception):
    """The cluster failed to carry out a call. `retryable`: the same call may succeed later. `problem`: why the cluster
    as a whole cannot be used, where that is known; users read it, and the message is for the log."""

    def __init__(self, message: str, *, retryable: bool, problem: ClusterProblem | None = None) -> None:
        super().__init__(message)
        self.retryable, self.problem = retryable, problem


@dataclass(frozen=True)
class Launch:
    """How an engine runs on one replica, built by engines/.

    The driver replaces `{port}` in `command` and in values of `environment` by the port that it chose. `download` is a
    program that prints one JSON object per line, `{"done": bytes, "total": bytes}`, and exits 0; None: no such step.
    """

    command: tuple[str, ...]
    health_path: str
    metrics_path: str
    download: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    image: str = ""


@dataclass(frozen=True)
class ReplicaSpec:
    """One replica to start. `name` is derived from `replica_id`; the other ids become labels.

    `held_gpu_indices`: GPUs of the type that must not be given out, even if the cluster shows nobody who has them.
    """

    name: str
    replica_id: str
    deployment_id: str
    organization_id: str
    gpu_type: str
    gpu_count: int
    launch: Launch
    held_gpu_indices: frozenset[int] = frozenset()


@dataclass(frozen=True)
class ExitRecord:
    """How a replica ended, by the provider's record. `code` is None when its exit was not observed;
    `machine_restarted`: it ended with its machine, which says nothing about the replica."""

    at: datetime
    code: int | None
    step: str  # "download" or "engine"
    out_of_memory: bool = False
    machine_restarted: bool = False


@dataclass(frozen=True)
class ObservedReplica:
    """What the provider reports about one replica.

    `state` is a starting state or READY while it runs; with `exited` it is the last phase that it reached.
    `stamps`: the provider's time of each state entered. `healthy`: the result of the latest health probe.
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
    """A listing of all replicas with our label. `complete` is False when a part of it could not be read."""

    replicas: tuple[ObservedReplica, ...]
    listed_at: datetime
    complete: bool = True


@dataclass(frozen=True)
class Capacity:
    """GPUs by type id. `simulated`: declared, not detected on the hardware."""

    gpus: Mapping[str, int]
    simulated: bool


@dataclass(frozen=True)
class ReplicaChanged:
    """A notification from `watch` that a replica of this deployment changed. It carries no facts."""

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
        """Look up a replica by name; confirms absence where the listing may be stale."""

    def watch(self) -> Iterator[ReplicaChanged]:
        """Blocks and yields a notification at each change, indefinitely."""

    def start(self, spec: ReplicaSpec) -> None:
        """Create the replica, or confirm that it exists."""

    def stop(self, name: str, grace_seconds: float) -> None:
        """Terminate it, and kill it after the grace period. Returns at once; its absence is observed later."""

    def forget(self, name: str) -> None:
        """Delete the provider's record of a replica whose end has been stored."""

    def logs(self, name: str, *, follow: bool, tail: int, since: datetime | None = None) -> Iterator[LogLine]:
        """The last `tail` lines, where those before `since` may be left out; then, with `follow`, new lines until the
        replica has ended. Times within a log never decrease."""

    def capacity(self) -> Capacity: ...

    def check(self) -> None:
        """Raise `DriverError` when the cluster cannot be used."""
