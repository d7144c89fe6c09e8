"""The events of the timeline: one builder per kind, the only place that words them.

A builder returns an unsaved `DeploymentEvent`, which the writer of the rows saves in the same transaction. CONSOLE is
the actor of what the reconciler did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from accounts.models import User
from deployments.config.diff import Change, sentence
from deployments.models import Deployment, DeploymentEvent, Replica, Revision
from deployments.states import ReplicaState

CONSOLE = "console"
GIB = 2**30
MAX_CHARACTERS = 300


class Kind(StrEnum):
    CREATED = "created"
    PENDING = "pending"
    REPLICA_REQUESTED = "replica_requested"
    REPLICA_DOWNLOADING = "replica_downloading"
    REPLICA_INITIALIZING = "replica_initializing"
    REPLICA_READY = "replica_ready"
    REPLICA_UNHEALTHY = "replica_unhealthy"
    REPLICA_HEALTHY = "replica_healthy"
    REPLICA_DRAINING = "replica_draining"
    REPLICA_STOPPED = "replica_stopped"
    REPLICA_FAILED = "replica_failed"
    REPLICA_REPLACED = "replica_replaced"
    REPLICA_RESUMED = "replica_resumed"
    SCALED = "scaled"
    FELL_ASLEEP = "fell_asleep"
    WOKEN = "woken"
    ROLLOUT_STARTED = "rollout_started"
    ROLLOUT_DONE = "rollout_done"
    ROLLOUT_HELD = "rollout_held"
    ROLLED_BACK_BY_ITSELF = "rolled_back_by_itself"
    FAILED = "failed"
    TERMINATE_REQUESTED = "terminate_requested"
    TERMINATED = "terminated"
    DELETED = "deleted"
    EDITED = "edited"
    ROLLED_BACK = "rolled_back"
    RETRIED = "retried"
    REDEPLOYED = "redeployed"


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
    summary = f"{actor(by)} created the deployment, {_count(deployment.desired_replicas)} wanted"
    return _event(deployment, Kind.CREATED, summary, now, by=by)


def pending(deployment: Deployment, reason: str, now: datetime) -> DeploymentEvent:
    return _event(deployment, Kind.PENDING, reason, now)


def terminate_requested(deployment: Deployment, by: User | None, now: datetime) -> DeploymentEvent:
    return _event(deployment, Kind.TERMINATE_REQUESTED, f"{actor(by)} asked to terminate", now, by=by)


def terminated(deployment: Deployment, now: datetime) -> DeploymentEvent:
    return _event(deployment, Kind.TERMINATED, "Terminated: nothing is left in the cluster, GPUs released", now)


def deleted(deployment: Deployment, by: User | None, now: datetime) -> DeploymentEvent:
    return _event(deployment, Kind.DELETED, f"{actor(by)} deleted the deployment", now, by=by)


def edited(
    deployment: Deployment, changes: Sequence[Change], revision: Revision | None, by: User | None, now: datetime
) -> DeploymentEvent:
    what = f"{actor(by)} changed {sentence(changes)}"
    summary = f"Revision {revision.number}: {what}" if revision else what
    return _event(deployment, Kind.EDITED, summary, now, _changed(changes, revision), by)


def rolled_back(
    deployment: Deployment, changes: Sequence[Change], revision: Revision, by: User | None, now: datetime
) -> DeploymentEvent:
    """`revision` is the new one; it names the one that it restores."""
    what = f"{actor(by)} rolled back to revision {revision.restores}"
    summary = f"Revision {revision.number}: {what}, {sentence(changes)}"
    data = {**_changed(changes, revision), "restores": revision.restores}
    return _event(deployment, Kind.ROLLED_BACK, summary, now, data, by)


def _changed(changes: Sequence[Change], revision: Revision | None) -> dict[str, Any]:
    return {"changes": [asdict(change) for change in changes], "revision": revision.number if revision else None}


def retried(deployment: Deployment, by: User | None, now: datetime) -> DeploymentEvent:
    return _event(deployment, Kind.RETRIED, f"{actor(by)} asked to try again", now, by=by)


def redeployed(deployment: Deployment, by: User | None, now: datetime) -> DeploymentEvent:
    summary = f"{actor(by)} redeployed it, {_count(deployment.desired_replicas)} wanted"
    return _event(deployment, Kind.REDEPLOYED, summary, now, by=by)


def failed(deployment: Deployment, cause: Mapping[str, Any], failures: int, now: datetime) -> DeploymentEvent:
    summary = f"Failed after {failures} failures in a row: {cause['message']}"
    return _event(deployment, Kind.FAILED, summary, now, {"cause": dict(cause)})


def replica_requested(deployment: Deployment, replica: Replica, now: datetime, *, replacing: bool) -> DeploymentEvent:
    text = f"asked for {_gpus(deployment, replica)}"
    if replacing:
        return _replica_event(deployment, replica, Kind.REPLICA_REPLACED, f"{text}, in place of one that ended", now)
    return _replica_event(deployment, replica, Kind.REPLICA_REQUESTED, text, now)


def replica_entered(deployment: Deployment, replica: Replica, state: ReplicaState, at: datetime) -> DeploymentEvent:
    """A starting replica moved to the next phase, or became READY."""
    if state is ReplicaState.DOWNLOADING_MODEL:
        total = replica.bytes_total
        size = f", downloading {total / GIB:.1f} GiB" if total else ", downloading the model"
        node = f" on {replica.node}" if replica.node else ""
        text = f"got {_gpus(deployment, replica)}{node}{size}"
        return _replica_event(deployment, replica, Kind.REPLICA_DOWNLOADING, text, at)
    if state is ReplicaState.ENGINE_INITIALIZING:
        return _replica_event(deployment, replica, Kind.REPLICA_INITIALIZING, "starts its engine", at)
    minutes, seconds = divmod(int((at - replica.created_at).total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    duration = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    return _replica_event(deployment, replica, Kind.REPLICA_READY, f"ready after {duration}", at)


def replica_health(deployment: Deployment, replica: Replica, now: datetime) -> DeploymentEvent:
    if replica.serving:
        return _replica_event(deployment, replica, Kind.REPLICA_HEALTHY, "answers its health probe again", now)
    return _replica_event(
        deployment, replica, Kind.REPLICA_UNHEALTHY, "fails its health probe and gets no requests", now
    )


def replica_draining(deployment: Deployment, replica: Replica, now: datetime) -> DeploymentEvent:
    return _replica_event(
        deployment, replica, Kind.REPLICA_DRAINING, "drains: it gets nothing new and finishes what it has", now
    )


def replica_resumed(deployment: Deployment, replica: Replica, now: datetime) -> DeploymentEvent:
    return _replica_event(deployment, replica, Kind.REPLICA_RESUMED, "is wanted again and takes requests", now)


def scaled(
    deployment: Deployment, replicas: int, reason: str, inputs: Mapping[str, Any], now: datetime
) -> DeploymentEvent:
    """From the deployment's desired number to `replicas`; `inputs` are the autoscaler's."""
    summary = f"Scales from {_count(deployment.desired_replicas)} to {replicas}"
    data = {"from": deployment.desired_replicas, "to": replicas, "inputs": dict(inputs)}
    return _event(deployment, Kind.SCALED, f"{summary}: {reason}" if reason else summary, now, data)


def fell_asleep(deployment: Deployment, idle_seconds: float, now: datetime) -> DeploymentEvent:
    summary = (
        f"Fell asleep after {idle_seconds:g} s without a request: its GPUs are released, the next request wakes it"
    )
    return _event(deployment, Kind.FELL_ASLEEP, summary, now, {"idle_seconds": idle_seconds})


def woken(deployment: Deployment, replicas: int, reason: str, waiting: int, now: datetime) -> DeploymentEvent:
    """`waiting`: requests that wait for it."""
    waits = f", {waiting} waiting" if waiting else ""
    data = {"waiting": waiting, "replicas": replicas}
    return _event(deployment, Kind.WOKEN, f"Wakes: {reason}{waits}", now, data)


def rollout_started(deployment: Deployment, now: datetime) -> DeploymentEvent:
    return _event(deployment, Kind.ROLLOUT_STARTED, f"Rolls to {_revision(deployment)}", now, _number(deployment))


def rollout_done(deployment: Deployment, now: datetime) -> DeploymentEvent:
    summary = f"Rolled: all replicas run {_revision(deployment)}"
    return _event(deployment, Kind.ROLLOUT_DONE, summary, now, _number(deployment))


def rollout_held(deployment: Deployment, reason: str, now: datetime) -> DeploymentEvent:
    return _event(deployment, Kind.ROLLOUT_HELD, f"The rolling update waits. {reason}", now)


def rolled_back_by_itself(
    deployment: Deployment, failed: int, cause: Mapping[str, Any], now: datetime
) -> DeploymentEvent:
    """`deployment.revision` is already the new one."""
    restores = deployment.revision.restores if deployment.revision else None
    summary = f"Revision {failed} could not start, rolled back to the configuration of revision {restores}"
    data = {"failed": failed, "restores": restores, "cause": dict(cause)}
    return _event(deployment, Kind.ROLLED_BACK_BY_ITSELF, f"{summary}: {cause.get('message', '')}", now, data)


def replica_ended(deployment: Deployment, replica: Replica, at: datetime) -> DeploymentEvent:
    """Failed if it has a cause, else stopped."""
    if replica.cause:
        text, data = f"failed: {replica.cause.get('message', '')}", {"cause": replica.cause}
        return _replica_event(deployment, replica, Kind.REPLICA_FAILED, text, at, data)
    text = f"stopped, {_gpus(deployment, replica)} released"
    return _replica_event(deployment, replica, Kind.REPLICA_STOPPED, text, at)


def _gpus(deployment: Deployment, replica: Replica) -> str:
    return f"{replica.gpu_count} × {deployment.gpu_type.title}"


def _count(replicas: int) -> str:
    return "1 replica" if replicas == 1 else f"{replicas} replicas"


def _number(deployment: Deployment) -> dict[str, Any]:
    return {"revision": deployment.revision.number if deployment.revision else None}


def _revision(deployment: Deployment) -> str:
    return f"revision {deployment.revision.number}" if deployment.revision else "its revision"


def _replica_event(
    deployment: Deployment, replica: Replica, kind: Kind, text: str, at: datetime, data: dict[str, Any] | None = None
) -> DeploymentEvent:
    facts = {"replica_id": str(replica.id), **(data or {})}
    return _event(deployment, kind, f"{short(replica)} {text}", at, facts)


def _event(
    deployment: Deployment,
    kind: Kind,
    summary: str,
    at: datetime,
    data: dict[str, Any] | None = None,
    by: User | None = None,
) -> DeploymentEvent:
    return DeploymentEvent(
        organization_id=deployment.organization_id,
        deployment=deployment,
        at=at,
        kind=kind,
        actor=actor(by)[:254],
        summary=summary if len(summary) <= MAX_CHARACTERS else summary[: MAX_CHARACTERS - 1] + "…",
        data=data or {},
    )
