"""When a failed replica may be replaced, and when to give up or roll back. Pure.

Failures form one chain while each replica was created within the window after the previous failure and was not READY
for longer than the window. So an engine that takes ten minutes to miss its deadline counts, and one that ran for a day
starts a new chain.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from deployments.reconciler.snapshot import DeploymentView, Policy, ReplicaView
from deployments.states import ReplicaState

MAX_PASS_DELAY_SECONDS = 60.0


def pass_delay_seconds(failures: int) -> float:
    """How long after so many passes in a row that broke the next one is due: 2, 4, 8 … up to a minute."""
    return min(MAX_PASS_DELAY_SECONDS, 2.0 ** min(failures, 10))


@dataclass(frozen=True)
class Backoff:
    """`failures` in the current chain; no start before `not_before`, which `is_active` compares with the current time;
    `delays_start`: a replica that is wanted is missing meanwhile, which a retry starts at once; `is_exhausted`: give
    up."""

    failures: int = 0
    not_before: datetime | None = None
    is_active: bool = False
    delays_start: bool = False
    is_exhausted: bool = False


def list_failures(deployment: DeploymentView, replicas: Iterable[ReplicaView]) -> list[tuple[datetime, ReplicaView]]:
    """The failed replicas of the desired configuration that were created since `tried_since`, each with the time at
    which it ended, the latest first; without those that an operator declared gone, which say nothing about the
    configuration."""
    since = deployment.tried_since
    failed = [
        (replica.released_at, replica)
        for replica in replicas
        if replica.state is ReplicaState.FAILED
        and replica.released_at
        and replica.gone_declared_at is None
        and replica.spec_hash == deployment.spec_hash
        and (since is None or replica.created_at >= since)
    ]
    return sorted(failed, key=lambda pair: pair[0], reverse=True)


def compute(deployment: DeploymentView, replicas: Collection[ReplicaView], policy: Policy, now: datetime) -> Backoff:
    """From the `list_failures`. `replicas`: the live ones and those that failed recently."""
    failed = list_failures(deployment, replicas)
    window = timedelta(seconds=policy.failure_window_seconds)
    if not failed or now - failed[0][0] > window:
        return Backoff()
    count = 1
    for (ended_at, later), (earlier_ended_at, _) in pairwise(failed):
        was_ready_long = later.ready_at is not None and ended_at - later.ready_at > window
        if later.created_at - earlier_ended_at > window or was_ready_long:
            break
        count += 1
    delay = policy.backoff_seconds[min(count, len(policy.backoff_seconds)) - 1]
    not_before = failed[0][0] + timedelta(seconds=delay)
    is_active = now < not_before
    counted = sum(
        replica.is_unknown or (replica.is_active and replica.spec_hash == deployment.spec_hash) for replica in replicas
    )
    is_wanted = not deployment.is_ending and deployment.failed_at is None and counted < deployment.desired_replicas
    return Backoff(count, not_before, is_active, is_active and is_wanted, count >= policy.failures_before_failed)
