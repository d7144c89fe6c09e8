"""What a pass may do to one deployment: decisions as values, carried out by `apply`. Pure, frozen.

Actions about one replica name it by id. Each is an intent: `apply` commits it before it asks the cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

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
class Resume:
    """Put a draining replica back to use: it is wanted again before it had to stop."""

    replica_id: str


@dataclass(frozen=True)
class Scale:
    """Want `replicas` from now on. `inputs`: every number that the autoscaler looked at, for the timeline."""

    replicas: int
    reason: str
    inputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Remember:
    """Keep the autoscaler's memory until the next pass."""

    memory: Mapping[str, Any]


@dataclass(frozen=True)
class FallAsleep:
    """Ask the gateways' counters, in one step: if nothing came for `idle_seconds`, let nobody in any more."""

    epoch: str
    idle_seconds: float


@dataclass(frozen=True)
class Wake:
    """Start again with `replicas`. `waiting`: requests that wait for it."""

    replicas: int
    reason: str
    waiting: int = 0


@dataclass(frozen=True)
class Hold:
    """The rolling update cannot go on, and why; empty when it can again."""

    reason: str


@dataclass(frozen=True)
class RollBack:
    """The wanted revision cannot start: want the configuration of `revision_id` again."""

    revision_id: str
    failures: int


@dataclass(frozen=True)
class GiveUp:
    """Latch FAILED: the last failures came too close together."""

    failures: int


OfReplica = Record | Confirm | Drain | Resume | Stop | End
OfDeployment = Scale | Remember | FallAsleep | Wake | Hold | RollBack | GiveUp
Action = OfReplica | OfDeployment | Start
