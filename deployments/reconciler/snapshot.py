"""The input of a decision about one deployment, including the current time. Pure, frozen.

`observe` builds it, `plan` reads it. All times are aware UTC, all durations are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from deployments.codes import ClusterProblem, Reason
from deployments.drivers.base import ObservedReplica
from deployments.reconciler.autoscaler import Rules
from deployments.states import LIVE, STARTING, DeploymentStatus, ReplicaState

if TYPE_CHECKING:
    from deployments.routing.load import Load


@dataclass(frozen=True)
class Policy:
    """The settings of the lifecycle.

    `floor_mib_per_second`: by phase, the slowest transfer rate of weights that counts as progress; extends deadlines.
    `settle_seconds`: how long a new replica must be ready before it replaces one of the old revision.
    `unwanted_wake_seconds`: a wake for which no request waits any more is undone while it still requests GPUs.
    `pass_seconds`, `pending_seconds`, `steady_seconds`: time to the next pass while replicas change, while the
    deployment waits for GPUs, and otherwise.
    """

    phase_deadline_seconds: Mapping[str, float]
    unhealthy_deadline_seconds: float = 60.0
    backoff_seconds: tuple[float, ...] = (1.0, 4.0, 16.0)
    failures_before_failed: int = 3
    failure_window_seconds: float = 600.0
    drain_seconds: float = 60.0
    stop_grace_seconds: float = 5.0
    settle_seconds: float = 3.0
    unwanted_wake_seconds: float = 60.0
    pass_seconds: float = 1.0
    pending_seconds: float = 5.0
    steady_seconds: float = 5.0
    autoscaler: Rules = field(default_factory=Rules)
    floor_mib_per_second: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ReplicaView:
    """A replica's row. `spec_hash` is its revision's. `failed`: it has a cause, so STOPPING will end in FAILED.
    `gone_declared_at`: when an operator declared an UNKNOWN replica gone."""

    id: str
    name: str
    spec_hash: str
    state: ReplicaState
    state_since: datetime
    created_at: datetime
    gpu_count: int = 1
    weight_bytes: int = 0
    serving: bool = False
    failed: bool = False
    unhealthy_since: datetime | None = None
    ready_at: datetime | None = None
    drain_started_at: datetime | None = None
    drain_epoch: str = ""
    stop_requested_at: datetime | None = None
    last_seen_at: datetime | None = None
    gone_declared_at: datetime | None = None
    released_at: datetime | None = None

    @property
    def is_live(self) -> bool:
        return self.state in LIVE

    @property
    def is_starting(self) -> bool:
        return self.state in STARTING

    @property
    def is_active(self) -> bool:
        """Starting or ready."""
        return self.is_starting or self.state is ReplicaState.READY

    @property
    def is_unknown(self) -> bool:
        return self.state is ReplicaState.UNKNOWN

    @property
    def is_counted(self) -> bool:
        """It counts towards the desired number. An unknown one does, as it may still run: it is not replaced."""
        return self.is_active or self.is_unknown


@dataclass(frozen=True)
class DeploymentView:
    """A deployment's row.

    `spec_hash` is the desired revision's, `was_ready` whether a replica of it ever became READY; `good_revision_id` is
    the latest earlier revision with another configuration that became READY. `memory` is the autoscaler's, as JSON;
    `load_known_at` belongs to it.
    """

    id: str
    spec_hash: str
    gpu_count: int
    desired_replicas: int = 1
    max_concurrency: int = 16
    autoscaling_enabled: bool = False
    min_replicas: int = 1
    max_replicas: int = 1
    scale_down_delay_seconds: float = 300.0
    sleep_after_seconds: float = 300.0
    tried_since: datetime | None = None
    was_ready: bool = False
    good_revision_id: str | None = None
    asleep_since: datetime | None = None
    woken_at: datetime | None = None
    rollout_hold: Reason | None = None
    memory: Mapping[str, Any] = field(default_factory=dict)
    load_known_at: datetime | None = None
    terminate_requested_at: datetime | None = None
    deleted_at: datetime | None = None
    failed_at: datetime | None = None
    pending_since: datetime | None = None
    pending_reason: Reason | None = None
    observed_at: datetime | None = None
    status: DeploymentStatus = DeploymentStatus.PENDING

    @property
    def is_ending(self) -> bool:
        return self.terminate_requested_at is not None or self.deleted_at is not None


@dataclass(frozen=True)
class Listing:
    """How the cluster answered. `reachable` False: it did not, so nothing can be concluded from absence; `problem` says
    why."""

    listed_at: datetime
    complete: bool = True
    reachable: bool = True
    problem: ClusterProblem | None = None
    staleness_seconds: float = 0.0

    def shows_absence_since(self, moment: datetime) -> bool:
        """Whether a replica that existed at `moment` would be in this listing."""
        is_recent_enough = self.listed_at - timedelta(seconds=self.staleness_seconds) >= moment
        return self.reachable and self.complete and is_recent_enough


@dataclass(frozen=True)
class PoolView:
    """GPUs of the deployment's type in its cluster; `ahead`: deployments before this one in the queue for them."""

    title: str = "GPU"
    total: int = 0
    free: int = 0
    ahead: int = 0


@dataclass(frozen=True)
class Snapshot:
    """One deployment at one moment.

    `replicas`: the live ones and those that failed recently. `observed`: by replica name. `load` None: UNKNOWN. `pool`
    is filled only while replicas of another configuration are live. `up_since`: since when workers have run without a
    gap.
    """

    deployment: DeploymentView
    replicas: tuple[ReplicaView, ...]
    observed: Mapping[str, ObservedReplica]
    listing: Listing
    policy: Policy
    now: datetime
    load: Load | None = None
    pool: PoolView = field(default_factory=PoolView)
    up_since: datetime | None = None

    @property
    def live(self) -> tuple[ReplicaView, ...]:
        return tuple(replica for replica in self.replicas if replica.is_live)

    @property
    def was_unobserved(self) -> bool:
        """Whether no worker ran at some time since the last pass. A pass that is only late does not count; the first
        pass may have been interrupted before it was recorded."""
        last = self.deployment.observed_at or min((replica.created_at for replica in self.live), default=None)
        return last is not None and self.up_since is not None and last < self.up_since
