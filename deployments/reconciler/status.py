"""What to tell people: the table of design.md §5, first match wins. Pure; derived on every pass, so it cannot stick."""

from __future__ import annotations

from collections.abc import Iterable

from deployments.reconciler.snapshot import DeploymentView, ReplicaView
from deployments.states import STARTING_ORDER, DeploymentStatus, ReplicaState

S = DeploymentStatus


def derive(deployment: DeploymentView, replicas: Iterable[ReplicaView]) -> DeploymentStatus:
    """The status of a deployment with these replicas; ended ones don't matter."""
    live = [one for one in replicas if one.is_live]
    ready = [one for one in live if one.state is ReplicaState.READY]
    if deployment.is_ending:
        return S.TERMINATING if live else S.TERMINATED
    if deployment.failed_at is not None and not ready:
        return S.FAILED
    if deployment.asleep_since is not None and not live:
        return S.SLEEPING
    if not ready:
        if any(one.is_starting for one in live):
            return S.DEPLOYING
        return S.SCALING if live else S.PENDING
    if len({one.spec_hash for one in live}) > 1:
        return S.ROLLING
    return S.RUNNING if len(ready) == deployment.desired_replicas else S.SCALING


def phase(status: DeploymentStatus, replicas: Iterable[ReplicaView]) -> str:
    """While DEPLOYING, the state of the replica furthest on; else empty."""
    if status is not S.DEPLOYING:
        return ""
    return max((one.state for one in replicas if one.is_starting), key=STARTING_ORDER.index).value
