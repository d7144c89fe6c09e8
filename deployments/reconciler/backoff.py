"""Not too often: when a replacement may start, and when to give up or roll back. Pure.

Failures belong to one chain while each replica was started within the window of the failure before it and was not
ready for longer than the window: what takes ten minutes to fail its deadline still counts, what ran for a day starts
a new chain.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from deployments.reconciler.snapshot import DeploymentView, Policy, ReplicaView
from deployments.states import ReplicaState


@dataclass(frozen=True)
class Backoff:
    """`failures` in the present chain; nothing may start before `not_before`; `exhausted`: give up."""

    failures: int = 0
    not_before: datetime | None = None
    exhausted: bool = False

    def holds(self, now: datetime) -> bool:
        return self.not_before is not None and now < self.not_before


def of(deployment: DeploymentView, replicas: Iterable[ReplicaView], policy: Policy, now: datetime) -> Backoff:
    """The back-off that the failed ones among `replicas` have earned: those of the wanted configuration, started since
    people last asked to try."""
    tried = [one for one in replicas if _counts(deployment, one)]
    failed = sorted(
        ((one.released_at, one) for one in tried if one.state is ReplicaState.FAILED and one.released_at),
        key=lambda pair: pair[0],
        reverse=True,
    )
    window = timedelta(seconds=policy.failure_window_seconds)
    if not failed or now - failed[0][0] > window:
        return Backoff()
    count = 1
    for (ended_at, later), (earlier_at, _) in pairwise(failed):
        if later.created_at - earlier_at > window or _ready_time(later, ended_at) > window:
            break
        count += 1
    delay = policy.backoff_seconds[min(count, len(policy.backoff_seconds)) - 1]
    not_before = failed[0][0] + timedelta(seconds=delay)
    return Backoff(count, not_before, exhausted=count >= policy.failures_before_failed)


def _counts(deployment: DeploymentView, replica: ReplicaView) -> bool:
    since = deployment.tried_since
    return replica.spec_hash == deployment.spec_hash and (since is None or replica.created_at >= since)


def _ready_time(replica: ReplicaView, ended_at: datetime) -> timedelta:
    return ended_at - replica.ready_at if replica.ready_at else timedelta(0)
