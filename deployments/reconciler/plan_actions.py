"""What a pass may do to one deployment: decisions as values, carried out by `execute`. Pure, frozen.

An action on a replica names it by id. It is an intent: `execute` commits it before it calls the cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deployments.codes import Reason, StopReason
from deployments.drivers.base import ExitRecord, ObservedReplica
from deployments.states import ReplicaState


@dataclass(frozen=True)
class Record:
    """Record the observation; `steps` are the states entered since the last one, each with its time."""

    replica_id: str
    seen: ObservedReplica
    steps: tuple[tuple[ReplicaState, datetime], ...] = ()
    serving: bool = False
    unhealthy_since: datetime | None = None


@dataclass(frozen=True)
class Confirm:
    """Repeat the start of a replica that the cluster does not show yet: start means create-or-confirm."""

    replica_id: str


@dataclass(frozen=True)
class MarkUnknown:
    """The cluster has no record of it any more, although it showed it at `at`, the last time."""

    replica_id: str
    at: datetime


@dataclass(frozen=True)
class Drain:
    """Remove it from the routes and let its requests in flight finish."""

    replica_id: str


@dataclass(frozen=True)
class Stop:
    """Stop it; without a reason, repeat the stop. `problem`: why it counts as a failure (a key of `deadlines.explain`),
    if it does."""

    replica_id: str
    reason: StopReason | None
    problem: str = ""


@dataclass(frozen=True)
class End:
    """It is gone since `at`: by the cluster's word, or declared gone by an operator.

    `exited` is the provider's record. `crashed`: it ended without a stop request, which is a failure. `reason`: why a
    replica without a stop request counts as stopped nevertheless.
    """

    replica_id: str
    at: datetime
    exited: ExitRecord | None = None
    crashed: bool = False
    reason: StopReason | None = None


@dataclass(frozen=True)
class Start:
    """Start up to `count` replicas, as far as GPUs are granted. `replacing`: they replace failed ones."""

    count: int
    replacing: bool = False


@dataclass(frozen=True)
class Resume:
    """Return a draining replica to service: it is desired again before it was stopped."""

    replica_id: str


@dataclass(frozen=True)
class Scale:
    """Set the desired number of replicas. The facts of the reason are every number that the autoscaler used."""

    replicas: int
    reason: Reason


@dataclass(frozen=True)
class Remember:
    """Store the autoscaler's memory for the next pass."""

    memory: Mapping[str, Any]
    load_known_at: datetime | None


@dataclass(frozen=True)
class FallAsleep:
    """Put the deployment to sleep if the gateways' counters show no request within `idle_seconds`."""

    epoch: str
    idle_seconds: float


@dataclass(frozen=True)
class Wake:
    """Start again with `replicas`. `waiting`: requests that wait for it."""

    replicas: int
    reason: Reason
    waiting: int = 0


@dataclass(frozen=True)
class Hold:
    """The rolling update is blocked, and why; None when it no longer is."""

    reason: Reason | None


@dataclass(frozen=True)
class RollBack:
    """The desired revision cannot start: restore the configuration of `revision_id`."""

    revision_id: str
    failures: int


@dataclass(frozen=True)
class GiveUp:
    """Mark the deployment as failed: `failures` in one chain."""

    failures: int


ReplicaAction = Record | Confirm | MarkUnknown | Drain | Resume | Stop | End
DeploymentAction = Scale | Remember | FallAsleep | Wake | Hold | RollBack | GiveUp
Action = ReplicaAction | DeploymentAction | Start
