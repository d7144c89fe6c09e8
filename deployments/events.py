"""What people read in the timeline: one sentence per fact, made here and nowhere else.

A builder returns an unsaved `DeploymentEvent`; whoever changed the rows saves it in the same transaction. `CONSOLE` is
the actor of what the product did by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from accounts.models import User
from deployments import diffs
from deployments.diffs import Change
from deployments.models import Deployment, DeploymentEvent, Replica, Revision
from deployments.reconciler.actions import Scale, Wake

CONSOLE = "console"
GIB = 2**30
_LONGEST = 300


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


# What changes the configuration or the wish, and with it the deployment's version.
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
    """How people see a replica: "r-b05e"."""
    return short_id(replica.id)


def short_id(replica_id: UUID) -> str:
    return f"r-{replica_id.hex[:4]}"


def actor(user: User | None) -> str:
    return user.email if user else CONSOLE


def created(deployment: Deployment, by: User | None, now: datetime) -> DeploymentEvent:
    count = deployment.desired_replicas
    wanted = "1 replica" if count == 1 else f"{count} replicas"
    return _event(deployment, Kind.CREATED, f"{actor(by)} created the deployment, {wanted} wanted", now, by=by)


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
    what = f"{actor(by)} changed {diffs.sentence(changes)}"
    summary = f"Revision {revision.number}: {what}" if revision else what
    return _event(deployment, Kind.EDITED, summary, now, _changed(changes, revision), by)


def rolled_back(
    deployment: Deployment, changes: Sequence[Change], revision: Revision, by: User | None, now: datetime
) -> DeploymentEvent:
    """`revision` is the new one; it says which one it restores."""
    what = f"{actor(by)} rolled back to revision {revision.restores}"
    summary = f"Revision {revision.number}: {what}, {diffs.sentence(changes)}"
    data = {**_changed(changes, revision), "restores": revision.restores}
    return _event(deployment, Kind.ROLLED_BACK, summary, now, data, by)


def _changed(changes: Sequence[Change], revision: Revision | None) -> dict[str, Any]:
    return {"changes": [asdict(one) for one in changes], "revision": revision.number if revision else None}


def retried(deployment: Deployment, by: User | None, now: datetime) -> DeploymentEvent:
    return _event(deployment, Kind.RETRIED, f"{actor(by)} asked to try again", now, by=by)


def redeployed(deployment: Deployment, by: User | None, now: datetime) -> DeploymentEvent:
    count = deployment.desired_replicas
    wanted = "1 replica" if count == 1 else f"{count} replicas"
    return _event(deployment, Kind.REDEPLOYED, f"{actor(by)} redeployed it, {wanted} wanted", now, by=by)


def failed(deployment: Deployment, cause: Mapping[str, Any], failures: int, now: datetime) -> DeploymentEvent:
    summary = f"Failed after {failures} failures in a row: {cause['message']}"
    return _event(deployment, Kind.FAILED, summary, now, {"cause": dict(cause)})


def replica_requested(deployment: Deployment, replica: Replica, gpu: str, now: datetime) -> DeploymentEvent:
    return _of(deployment, replica, Kind.REPLICA_REQUESTED, f"asked for {gpu}", now)


def replica_replaced(deployment: Deployment, replica: Replica, gpu: str, now: datetime) -> DeploymentEvent:
    return _of(deployment, replica, Kind.REPLICA_REPLACED, f"asked for {gpu}, in place of one that ended", now)


def replica_downloading(deployment: Deployment, replica: Replica, gpu: str, at: datetime) -> DeploymentEvent:
    size = f", downloading {replica.bytes_total / GIB:.1f} GiB" if replica.bytes_total else ", downloading the model"
    where = f" on {replica.node}" if replica.node else ""
    return _of(deployment, replica, Kind.REPLICA_DOWNLOADING, f"got {gpu}{where}{size}", at)


def replica_initializing(deployment: Deployment, replica: Replica, at: datetime) -> DeploymentEvent:
    return _of(deployment, replica, Kind.REPLICA_INITIALIZING, "starts its engine", at)


def replica_ready(deployment: Deployment, replica: Replica, at: datetime) -> DeploymentEvent:
    return _of(deployment, replica, Kind.REPLICA_READY, f"ready after {_clock(replica.created_at, at)}", at)


def replica_health(deployment: Deployment, replica: Replica, now: datetime) -> DeploymentEvent:
    if replica.serving:
        return _of(deployment, replica, Kind.REPLICA_HEALTHY, "answers its health probe again", now)
    return _of(deployment, replica, Kind.REPLICA_UNHEALTHY, "fails its health probe and gets no requests", now)


def replica_draining(deployment: Deployment, replica: Replica, now: datetime) -> DeploymentEvent:
    return _of(deployment, replica, Kind.REPLICA_DRAINING, "drains: it gets nothing new and finishes what it has", now)


def replica_resumed(deployment: Deployment, replica: Replica, now: datetime) -> DeploymentEvent:
    return _of(deployment, replica, Kind.REPLICA_RESUMED, "is wanted again and takes requests", now)


def scaled(deployment: Deployment, scale: Scale, now: datetime) -> DeploymentEvent:
    summary = f"Scales from {_count(deployment.desired_replicas)} to {scale.replicas}"
    data = {"from": deployment.desired_replicas, "to": scale.replicas, "inputs": dict(scale.inputs)}
    return _event(deployment, Kind.SCALED, f"{summary}: {scale.reason}" if scale.reason else summary, now, data)


def fell_asleep(deployment: Deployment, idle_seconds: float, now: datetime) -> DeploymentEvent:
    summary = (
        f"Fell asleep after {idle_seconds:g} s without a request: its GPUs are released, the next request wakes it"
    )
    return _event(deployment, Kind.FELL_ASLEEP, summary, now, {"idle_seconds": idle_seconds})


def woken(deployment: Deployment, wake: Wake, now: datetime) -> DeploymentEvent:
    waits = f", {wake.waiting} waiting" if wake.waiting else ""
    data = {"waiting": wake.waiting, "replicas": wake.replicas}
    return _event(deployment, Kind.WOKEN, f"Wakes: {wake.reason}{waits}", now, data)


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
    """`deployment.revision` is the new one already."""
    restores = deployment.revision.restores if deployment.revision else None
    summary = f"Revision {failed} could not start, rolled back to the configuration of revision {restores}"
    data = {"failed": failed, "restores": restores, "cause": dict(cause)}
    return _event(deployment, Kind.ROLLED_BACK_BY_ITSELF, f"{summary}: {cause.get('message', '')}", now, data)


def replica_stopped(deployment: Deployment, replica: Replica, gpu: str, at: datetime) -> DeploymentEvent:
    return _of(deployment, replica, Kind.REPLICA_STOPPED, f"stopped, {gpu} released", at)


def replica_failed(deployment: Deployment, replica: Replica, at: datetime) -> DeploymentEvent:
    cause = replica.cause or {}
    data = {"cause": cause}
    return _of(deployment, replica, Kind.REPLICA_FAILED, f"failed: {cause.get('message', '')}", at, data)


def _count(replicas: int) -> str:
    return "1 replica" if replicas == 1 else f"{replicas} replicas"


def _number(deployment: Deployment) -> dict[str, Any]:
    return {"revision": deployment.revision.number if deployment.revision else None}


def _revision(deployment: Deployment) -> str:
    return f"revision {deployment.revision.number}" if deployment.revision else "its revision"


def _of(
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
        summary=summary if len(summary) <= _LONGEST else summary[: _LONGEST - 1] + "…",
        data=data or {},
    )


def _clock(since: datetime, until: datetime) -> str:
    minutes, seconds = divmod(int((until - since).total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
