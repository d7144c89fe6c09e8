"""The events of the timeline: one builder per kind, which stores the facts; `messages` words them when they are read.

A builder returns an unsaved `DeploymentEvent`, which the writer of the rows saves in the same transaction. CONSOLE is
the actor of what the reconciler did. Names among the facts (of GPUs, clusters, replicas) are those of that moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from accounts.models import User
from deployments.codes import Kind as Kind
from deployments.codes import Reason
from deployments.config.diff import Change
from deployments.models import Deployment, DeploymentEvent, Replica, Revision
from deployments.states import ReplicaState

CONSOLE = "console"

# Kinds that change the desired state, and with it the deployment's version.
CHANGES = (
    Kind.CREATED,
    Kind.EDITED,
    Kind.ROLLED_BACK,
    Kind.RETRIED,
    Kind.REDEPLOYED,
    Kind.TERMINATE_REQUESTED,
    Kind.ROLLED_BACK_BY_ITSELF,
)


def short(replica: Replica) -> str:
    """The name of a replica that users see: "r-b05e"."""
    return short_id(replica.id)


def short_id(replica_id: UUID) -> str:
    return f"r-{replica_id.hex[:4]}"


def actor(user: User | None) -> str:
    return user.email if user else CONSOLE


def created(deployment: Deployment, by: User | None, now: datetime) -> DeploymentEvent:
    return _event(deployment, Kind.CREATED, now, by, replicas=deployment.desired_replicas)


def pending(deployment: Deployment, reason: Reason, now: datetime) -> DeploymentEvent:
    return _event(deployment, Kind.PENDING, now, reason=reason.to_json())


def terminate_requested(deployment: Deployment, by: User | None, now: datetime) -> DeploymentEvent:
    return _event(deployment, Kind.TERMINATE_REQUESTED, now, by)


def terminated(deployment: Deployment, now: datetime) -> DeploymentEvent:
    return _event(deployment, Kind.TERMINATED, now)


def deleted(deployment: Deployment, by: User | None, now: datetime) -> DeploymentEvent:
    return _event(deployment, Kind.DELETED, now, by)


def edited(
    deployment: Deployment, changes: Sequence[Change], revision: Revision | None, by: User | None, now: datetime
) -> DeploymentEvent:
    """`revision` is None for an edit that restarts nothing."""
    number = revision.number if revision else None
    return _event(deployment, Kind.EDITED, now, by, changes=_list(changes), revision=number)


def rolled_back(
    deployment: Deployment, changes: Sequence[Change], revision: Revision, by: User | None, now: datetime
) -> DeploymentEvent:
    """`revision` is the new one; it names the one that it restores."""
    facts: dict[str, Any] = {"changes": _list(changes), "revision": revision.number, "restores": revision.restores}
    return _event(deployment, Kind.ROLLED_BACK, now, by, **facts)


def _list(changes: Sequence[Change]) -> list[dict[str, Any]]:
    return [asdict(change) for change in changes]


def retried(deployment: Deployment, by: User | None, now: datetime) -> DeploymentEvent:
    return _event(deployment, Kind.RETRIED, now, by)


def redeployed(deployment: Deployment, by: User | None, now: datetime) -> DeploymentEvent:
    return _event(deployment, Kind.REDEPLOYED, now, by, replicas=deployment.desired_replicas)


def failed(deployment: Deployment, cause: Mapping[str, Any], failures: int, now: datetime) -> DeploymentEvent:
    """`cause`: as its JSON."""
    return _event(deployment, Kind.FAILED, now, failures=failures, cause=dict(cause))


def replica_requested(deployment: Deployment, replica: Replica, now: datetime, *, replacing: bool) -> DeploymentEvent:
    kind = Kind.REPLICA_REPLACED if replacing else Kind.REPLICA_REQUESTED
    return _replica_event(deployment, replica, kind, now, cluster=deployment.endpoint.cluster.name)


def replica_entered(deployment: Deployment, replica: Replica, state: ReplicaState, at: datetime) -> DeploymentEvent:
    """A starting replica moved to the next phase, or became READY."""
    if state is ReplicaState.DOWNLOADING_MODEL:
        facts: dict[str, Any] = {"node": replica.node, "bytes_total": replica.bytes_total}
        return _replica_event(deployment, replica, Kind.REPLICA_DOWNLOADING, at, **facts)
    if state is ReplicaState.ENGINE_INITIALIZING:
        return _replica_event(deployment, replica, Kind.REPLICA_INITIALIZING, at)
    start_seconds = (at - replica.created_at).total_seconds()
    return _replica_event(deployment, replica, Kind.REPLICA_READY, at, start_seconds=start_seconds)


def replica_health(deployment: Deployment, replica: Replica, now: datetime) -> DeploymentEvent:
    kind = Kind.REPLICA_HEALTHY if replica.serving else Kind.REPLICA_UNHEALTHY
    return _replica_event(deployment, replica, kind, now)


def replica_draining(deployment: Deployment, replica: Replica, now: datetime) -> DeploymentEvent:
    return _replica_event(deployment, replica, Kind.REPLICA_DRAINING, now)


def replica_resumed(deployment: Deployment, replica: Replica, now: datetime) -> DeploymentEvent:
    return _replica_event(deployment, replica, Kind.REPLICA_RESUMED, now)


def replica_unknown(deployment: Deployment, replica: Replica, seen_at: datetime, now: datetime) -> DeploymentEvent:
    """`seen_at`: when the cluster showed it last."""
    return _replica_event(deployment, replica, Kind.REPLICA_UNKNOWN, now, seen_at=seen_at.isoformat())


def replica_found(deployment: Deployment, replica: Replica, now: datetime) -> DeploymentEvent:
    return _replica_event(deployment, replica, Kind.REPLICA_FOUND, now)


def replica_declared_gone(deployment: Deployment, replica: Replica, by: User | None, now: datetime) -> DeploymentEvent:
    about = {"replica_id": str(replica.id), "replica": short(replica)}
    return _event(deployment, Kind.REPLICA_DECLARED_GONE, now, by, **about)


def scaled(deployment: Deployment, replicas: int, reason: Reason, now: datetime) -> DeploymentEvent:
    """From the deployment's desired number to `replicas`; the facts of the reason are the autoscaler's inputs."""
    facts: dict[str, Any] = {"from": deployment.desired_replicas, "to": replicas, "reason": reason.to_json()}
    return _event(deployment, Kind.SCALED, now, **facts)


def fell_asleep(deployment: Deployment, idle_seconds: float, now: datetime) -> DeploymentEvent:
    return _event(deployment, Kind.FELL_ASLEEP, now, idle_seconds=idle_seconds)


def woken(deployment: Deployment, replicas: int, reason: Reason, waiting: int, now: datetime) -> DeploymentEvent:
    """`waiting`: requests that wait for it."""
    return _event(deployment, Kind.WOKEN, now, waiting=waiting, replicas=replicas, reason=reason.to_json())


def rollout_started(deployment: Deployment, now: datetime) -> DeploymentEvent:
    return _event(deployment, Kind.ROLLOUT_STARTED, now, revision=_revision_number(deployment))


def rollout_done(deployment: Deployment, now: datetime) -> DeploymentEvent:
    return _event(deployment, Kind.ROLLOUT_DONE, now, revision=_revision_number(deployment))


def rollout_held(deployment: Deployment, reason: Reason, now: datetime) -> DeploymentEvent:
    return _event(deployment, Kind.ROLLOUT_HELD, now, reason=reason.to_json())


def rolled_back_by_itself(
    deployment: Deployment, failed: int, cause: Mapping[str, Any], now: datetime
) -> DeploymentEvent:
    """`deployment.revision` is already the new one; `cause`: as its JSON."""
    restores = deployment.revision.restores if deployment.revision else None
    return _event(deployment, Kind.ROLLED_BACK_BY_ITSELF, now, failed=failed, restores=restores, cause=dict(cause))


def replica_ended(deployment: Deployment, replica: Replica, at: datetime) -> DeploymentEvent:
    """Failed if it has a cause, else stopped."""
    if replica.cause:
        return _replica_event(deployment, replica, Kind.REPLICA_FAILED, at, cause=replica.cause)
    return _replica_event(deployment, replica, Kind.REPLICA_STOPPED, at, stop_reason=replica.stop_reason)


def _revision_number(deployment: Deployment) -> int | None:
    return deployment.revision.number if deployment.revision else None


def _replica_event(deployment: Deployment, replica: Replica, kind: Kind, at: datetime, **facts: Any) -> DeploymentEvent:
    about = {"replica_id": str(replica.id), "replica": short(replica)}
    gpus = {"gpu_count": replica.gpu_count, "gpu": deployment.gpu_type.title}
    return _event(deployment, kind, at, None, **about, **gpus, **facts)


def _event(deployment: Deployment, kind: Kind, at: datetime, by: User | None = None, **facts: Any) -> DeploymentEvent:
    return DeploymentEvent(
        organization_id=deployment.organization_id,
        deployment=deployment,
        at=at,
        kind=kind,
        actor=actor(by)[:254],
        facts=facts,
    )
