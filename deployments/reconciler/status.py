"""The status that users see, first match wins (docs/lifecycle.md, "Status"). Pure; derived anew on every pass."""

from __future__ import annotations

from collections.abc import Iterable

from deployments.reconciler.snapshot import DeploymentView, ReplicaView
from deployments.states import STARTING_ORDER, DeploymentStatus, ReplicaState

S = DeploymentStatus


def derive(deployment: DeploymentView, replicas: Iterable[ReplicaView]) -> DeploymentStatus:
    """The status of a deployment with these replicas; ended ones are ignored."""
    live = [replica for replica in replicas if replica.is_live]
    known = [replica for replica in live if not replica.is_unknown]
    ready = [replica for replica in known if replica.state is ReplicaState.READY]
    if deployment.is_ending:
        return S.TERMINATING if live else S.TERMINATED
    if deployment.failed_at is not None and not ready:
        return S.FAILED
    if deployment.asleep_since is not None and not known:
        return S.SLEEPING
    if not ready:
        if any(replica.is_starting for replica in live):
            return S.DEPLOYING
        return S.SCALING if live else S.PENDING
    if len({replica.spec_hash for replica in known}) > 1:
        return S.ROLLING
    return S.RUNNING if len(ready) == deployment.desired_replicas else S.SCALING


def derive_phase(status: DeploymentStatus, replicas: Iterable[ReplicaView]) -> str:
    """While DEPLOYING, the state of the replica that is furthest; else empty."""
    if status is not S.DEPLOYING:
        return ""
    return max((replica.state for replica in replicas if replica.is_starting), key=STARTING_ORDER.index).value
