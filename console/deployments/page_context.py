"""A deployment as it is now: configuration, replicas, load and back-off, from which its pages are made; and the
template context that these pages share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings

from accounts.roles import Right
from console.access import Actor
from console.components.deployment_header import DeploymentHeader, make_header
from console.components.formats import format_count, format_elapsed
from console.deployments.action_menu import offer_actions
from console.deployments.replica_rows import ReplicaRow
from deployments import queries
from deployments.models import Deployment, Revision
from deployments.queries import Backoff
from deployments.routing.load import Load, read_loads
from deployments.states import AT_REST, ENDED, LIVE, STARTING, DeploymentStatus, ReplicaState

R, S = ReplicaState, DeploymentStatus
MAX_ENDED_READ = 100
MOVING = (S.TERMINATING, S.PENDING, S.ROLLING)


@dataclass(frozen=True)
class CurrentState:
    """`live` and `ended` (the latest MAX_ENDED_READ) are newest first; `load` None is unknown."""

    deployment: Deployment
    now: datetime
    header: DeploymentHeader
    live: list[ReplicaRow]
    ended: list[ReplicaRow]
    load: Load | None
    backoff: Backoff

    @property
    def revision(self) -> Revision:
        """The revision that is wanted."""
        assert self.deployment.revision, "every deployment has its first revision from the start"
        return self.deployment.revision

    @property
    def wanted(self) -> int:
        return 0 if self.deployment.terminate_requested_at else self.deployment.desired_replicas

    @property
    def ready(self) -> int:
        return sum(row.replica.state == R.READY for row in self.live)

    @property
    def starting(self) -> list[ReplicaRow]:
        return [row for row in self.live if row.replica.state in STARTING]

    @property
    def unknown(self) -> list[ReplicaRow]:
        """Those that the cluster has no record of."""
        return [row for row in self.live if row.is_unknown]

    @property
    def in_flight(self) -> int | None:
        return sum(self.load.in_flight.values()) if self.load else None

    @property
    def waiting(self) -> int | None:
        """Requests that the gateways hold until a replica can take them."""
        return self.load.waiting if self.load else None

    @property
    def oldest_waiting(self) -> str:
        return format_elapsed(self.load.oldest_waiting_seconds if self.load else 0.0)

    @property
    def capacity(self) -> int:
        """Requests that the ready replicas can take at once."""
        return sum(row.max_concurrency for row in self.live if row.replica.state == R.READY and row.replica.serving)

    @property
    def gpus_held(self) -> int:
        return sum(row.replica.gpu_count for row in self.live)

    @property
    def backoff_left(self) -> float | None:
        """Seconds until the next start after a failure; None while no start is delayed."""
        if self.backoff.not_before is None or not self.backoff.delays_start:
            return None
        return (self.backoff.not_before - self.now).total_seconds()

    @property
    def has_ended(self) -> bool:
        """Nothing runs until somebody asks for it."""
        return self.deployment.status in AT_REST

    @property
    def is_callable(self) -> bool:
        return self.deployment.terminate_requested_at is None and not self.has_ended

    @property
    def is_moving(self) -> bool:
        """Whether times on the page advance: something starts, ends or waits."""
        waits = bool(self.waiting) or self.backoff_left is not None
        return waits or any(row.replica.state != R.READY for row in self.live) or self.deployment.status in MOVING

    @property
    def terminate_effects(self) -> str:
        """What terminating stops and releases."""
        if not self.live:
            return "No replicas are running and no GPUs are held."
        stops = "stops" if len(self.live) == 1 else "stop"
        gpus = format_count(self.gpus_held, "GPU")
        released = "is released" if self.gpus_held == 1 else "are released"
        finish = f" Requests in flight get up to {settings.DRAIN_SECONDS} s to finish." if self.ready else ""
        return f"{format_count(len(self.live), 'replica')} {stops}, {gpus} {released}.{finish}"


def read_state(deployment: Deployment, now: datetime) -> CurrentState:
    """One read of Redis, four queries."""
    current_load = read_loads([deployment.pk])[deployment.pk]
    replicas = queries.replica_rows(deployment)
    live, ended = list(replicas.filter(state__in=LIVE)), list(replicas.filter(state__in=ENDED)[:MAX_ENDED_READ])

    def requests(replica_id: object) -> int | None:
        return current_load.in_flight.get(str(replica_id), 0) if current_load else None

    return CurrentState(
        deployment=deployment,
        now=now,
        header=make_header(deployment),
        live=[ReplicaRow(replica, requests(replica.pk), now) for replica in live],
        ended=[ReplicaRow(replica, requests(replica.pk), now) for replica in ended],
        load=current_load,
        backoff=queries.restart_backoff(deployment, [*live, *ended], now),
    )


def page_context(actor: Actor, state: CurrentState) -> dict[str, Any]:
    """What the header, the tabs and the dialogs of every page of a deployment are rendered with."""
    deployment = state.deployment
    may_deploy = actor.may(Right.DEPLOY, deployment.organization_id)
    return {
        "deployment": deployment,
        "header": state.header,
        "state": state,
        "actions": offer_actions(
            deployment.status,
            may_deploy=may_deploy,
            has_replicas=bool(state.live),
            is_backing_off=state.backoff.delays_start,
            cause=(deployment.cause or {}).get("code", ""),
        ),
        "may_deploy": may_deploy,
        "may_declare_gone": actor.may(Right.DECLARE_REPLICAS_GONE, deployment.organization_id),
        "may_call": actor.may(Right.CALL, deployment.organization_id),
    }
