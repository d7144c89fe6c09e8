"""Rows of deployments in any status, written as the reconciler would leave them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from accounts.models import Organization, User
from accounts.roles import Role
from accounts.services import create_organization, set_role
from deployments.config.available_options import ModelRef
from deployments.config.deployment_spec import RevisionSpec
from deployments.engines.simulator.engine import SimulatorSettings
from deployments.models import (
    Cluster,
    ClusterGpu,
    Deployment,
    DeploymentEvent,
    Endpoint,
    GpuType,
    Replica,
    ReplicaPhase,
    Revision,
)
from deployments.states import STARTING_ORDER, DeploymentStatus, ReplicaState

GIB = 2**30
PASSWORD = "correct horse battery"


def person(email: str, organization: Organization | None = None, role: Role = Role.ADMIN, **fields: Any) -> User:
    user = User.objects.create_user(email, PASSWORD, **fields)
    if organization:
        set_role(organization=organization, user=user, role=role)
    return user


def organization(slug: str = "northwind") -> Organization:
    return create_organization(slug=slug, name=slug.title())


def endpoint(now: datetime) -> Endpoint:
    gpu, _ = GpuType.objects.get_or_create(
        id="l40s-48gb", defaults={"title": "L40S 48 GB", "vendor": "NVIDIA", "memory_gb": 48, "memory_gib": "44.99"}
    )
    cluster, _ = Cluster.objects.get_or_create(
        name="local", defaults={"driver": Cluster.Driver.LOCAL, "simulated": True, "created_at": now}
    )
    ClusterGpu.objects.get_or_create(cluster=cluster, gpu_type=gpu, defaults={"count": 8})
    return Endpoint.objects.get_or_create(
        name="default", defaults={"base_url": "http://127.0.0.1:8001", "cluster": cluster, "created_at": now}
    )[0]


def deployment(
    owner: Organization, now: datetime, name: str = "llama-chat", replicas: int = 1, **fields: Any
) -> Deployment:
    made = Deployment.objects.create(
        organization=owner,
        endpoint=endpoint(now),
        name=name,
        gpu_type_id="l40s-48gb",
        desired_replicas=replicas,
        created_at=now,
        updated_at=now,
        **{"status_since": now, "pending_since": None, **fields},
    )
    spec = RevisionSpec(
        model=ModelRef(
            source="catalog",
            id="llama-3.1-8b-instruct",
            repository="meta-llama/Llama-3.1-8B-Instruct",
            weight_bytes=15 * GIB,
            context_length=131072,
        ),
        engine=SimulatorSettings(context_length=8192),
        gpu_count=1,
    )
    made.revision = Revision.objects.create(
        organization=owner, deployment=made, number=1, spec=spec.to_json(), spec_hash=spec.spec_hash, created_at=now
    )
    made.save()
    return made


def replica(of: Deployment, state: ReplicaState, now: datetime, seconds: float = 10, **fields: Any) -> Replica:
    """A replica in `state` whose phases so far took `seconds` each, the last one up to `now`."""
    names = list(STARTING_ORDER)[: STARTING_ORDER.index(state) + 1] if state in STARTING_ORDER else list(STARTING_ORDER)
    begin = now - timedelta(seconds=seconds * len(names))
    made = Replica.objects.create(
        organization=of.organization,
        deployment=of,
        revision=of.revision,
        cluster=of.endpoint.cluster,
        gpu_count=1,
        name="pending",
        state=state,
        created_at=begin,
        **{
            "gpu_type": of.gpu_type,
            "state_since": now,
            "serving": state == ReplicaState.READY,
            "node": "node-1",
            "gpu_indices": [0],
            **fields,
        },
    )
    Replica.objects.filter(pk=made.pk).update(name=f"r-{made.pk.hex}")
    for place, name in enumerate(names):
        start = begin + timedelta(seconds=seconds * place)
        goes_on = state in STARTING_ORDER and place == len(names) - 1
        end = None if goes_on else start + timedelta(seconds=seconds)
        ReplicaPhase.objects.create(
            organization=of.organization, replica=made, name=name, started_at=start, ended_at=end
        )
    made.refresh_from_db()
    return made


CAUSE = {"code": "engine_exited", "facts": {"exit_code": 1}, "evidence": "Traceback <b>"}
SHORTAGE = {"code": "gpu_queue", "facts": {"gpu": "L40S", "gpu_count": 1, "free": 0, "total": 8}}


def event(of: Deployment, now: datetime, kind: str, **facts: Any) -> DeploymentEvent:
    return DeploymentEvent.objects.create(
        organization=of.organization, deployment=of, at=now, kind=kind, actor="console", facts=facts
    )


def revision(of: Deployment, now: datetime, max_concurrency: int = 32, **fields: Any) -> Revision:
    """The next revision, and the one that is wanted from now on."""
    assert of.revision
    old = RevisionSpec.from_json(of.revision.spec)
    spec = old.model_copy(update={"engine": old.engine.model_copy(update={"max_concurrency": max_concurrency})})
    number = of.revisions.count() + 1
    made = Revision.objects.create(
        organization=of.organization, deployment=of, number=number, spec=spec.to_json(), spec_hash=spec.spec_hash,
        **{"created_at": now, **fields},
    )  # fmt: skip
    Deployment.objects.filter(pk=of.pk).update(revision=made)
    of.refresh_from_db()
    return made


def rolling(of: Deployment, now: datetime) -> None:
    """Two wanted: the first of revision 1 was replaced and drains, revision 2 has one ready and one that starts."""
    replica(of, ReplicaState.READY, now)
    replica(of, ReplicaState.DRAINING, now, drain_started_at=now - timedelta(seconds=20))
    revision(of, now)
    Deployment.objects.filter(pk=of.pk).update(desired_replicas=2)
    replica(of, ReplicaState.READY, now)
    replica(of, ReplicaState.ENGINE_INITIALIZING, now)


def failure(of: Deployment, now: datetime, seconds_ago: float) -> Replica:
    """A replica that failed some seconds ago."""
    at = now - timedelta(seconds=seconds_ago)
    return replica(of, ReplicaState.FAILED, at, cause=CAUSE, released_at=at, serving=False)


def in_status(owner: Organization, status: DeploymentStatus, now: datetime, name: str = "") -> Deployment:
    """A deployment in `status` with the replicas that belong to it."""
    made = deployment(owner, now, name=name or f"in-{status.lower()}", status=status)
    match status:
        case DeploymentStatus.PENDING:
            Deployment.objects.filter(pk=made.pk).update(pending_since=now, pending_reason=SHORTAGE)
        case DeploymentStatus.DEPLOYING:
            replica(made, ReplicaState.DOWNLOADING_MODEL, now, bytes_done=5 * GIB, bytes_total=15 * GIB)
        case DeploymentStatus.RUNNING:
            replica(made, ReplicaState.READY, now)
        case DeploymentStatus.SCALING:
            Deployment.objects.filter(pk=made.pk).update(desired_replicas=2)
            replica(made, ReplicaState.READY, now)
            replica(made, ReplicaState.ENGINE_INITIALIZING, now)
        case DeploymentStatus.ROLLING:
            rolling(made, now)
        case DeploymentStatus.SLEEPING:
            Deployment.objects.filter(pk=made.pk).update(
                desired_replicas=0, asleep_since=now, autoscaling_enabled=True, min_replicas=0, max_replicas=3
            )
        case DeploymentStatus.FAILED:
            Deployment.objects.filter(pk=made.pk).update(failed_at=now, cause=CAUSE)
            replica(made, ReplicaState.FAILED, now, cause=CAUSE, log_tail="one\n\x1b[31mtwo <script>\x1b[0m\n")
        case DeploymentStatus.TERMINATING:
            Deployment.objects.filter(pk=made.pk).update(terminate_requested_at=now)
            replica(made, ReplicaState.DRAINING, now)
        case DeploymentStatus.TERMINATED:
            Deployment.objects.filter(pk=made.pk).update(terminate_requested_at=now, terminated_at=now)
            replica(made, ReplicaState.STOPPED, now)
    event(made, now, "created", replicas=1)
    made.refresh_from_db()
    return made
