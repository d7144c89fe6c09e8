"""What a pass may do to one deployment: decisions as values, carried out by `apply`. Pure, frozen.

Actions about one replica name it by id. Each is an intent: `apply` commits it before it asks the cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from deployments.drivers.base import ExitRecord, ObservedReplica
from deployments.states import ReplicaState


@dataclass(frozen=True)
class Record:
    """Write down what was seen; `steps` are the states it entered since, each with its time."""

    replica_id: str
    seen: ObservedReplica
    steps: tuple[tuple[ReplicaState, datetime], ...] = ()
    serving: bool = False
    unhealthy_since: datetime | None = None


@dataclass(frozen=True)
class Confirm:
    """Ask the cluster again to start what it does not show yet: start means create-or-confirm."""

    replica_id: str


@dataclass(frozen=True)
class Drain:
    """Take it out of the routes and let it finish what it has."""

    replica_id: str


@dataclass(frozen=True)
class Stop:
    """Begin its end, or ask for it again. `problem` says why when it is a failure (a key of `causes`)."""

    replica_id: str
    reason: str
    problem: str = ""


@dataclass(frozen=True)
class End:
    """The cluster confirmed that it is gone since `at`.

    `exited` is the provider's record. `crashed`: it ended without having been asked to, which is a failure.
    `reason` says why a replica that nobody asked to end counts as stopped all the same.
    """

    replica_id: str
    at: datetime
    exited: ExitRecord | None = None
    crashed: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Start:
    """Start up to `count` replicas, as far as there are GPUs and it is its turn. `replacing`: one ended before."""

    count: int
    replacing: bool = False


@dataclass(frozen=True)
class GiveUp:
    """Latch FAILED: the last failures came too close together."""

    failures: int


Action = Record | Confirm | Drain | Stop | End | Start | GiveUp
