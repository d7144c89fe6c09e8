"""Builders of snapshots: a deployment at noon, its replicas, and what a cluster shows of them."""

from datetime import UTC, datetime, timedelta

from deployments.drivers.base import ExitRecord, ObservedReplica
from deployments.reconciler.snapshot import DeploymentView, Listing, Policy, ReplicaView, Snapshot
from deployments.routing.load import Load
from deployments.states import ReplicaState

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
POLICY = Policy(phase_deadline_seconds={"REQUESTING_GPU": 600, "DOWNLOADING_MODEL": 3600, "ENGINE_INITIALIZING": 600})


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def a_deployment(**changes: object) -> DeploymentView:
    values = {"id": "d", "desired_replicas": 1, "spec_hash": "v1", "gpu_count": 1, "observed_at": ago(1)}
    values |= changes
    bounds = {"min_replicas": values["desired_replicas"], "max_replicas": max(1, values["desired_replicas"])}
    return DeploymentView(**(bounds | values))


def a_replica(id: str, state: ReplicaState, **changes: object) -> ReplicaView:
    values = {
        "id": id,
        "name": f"r-{id}",
        "spec_hash": "v1",
        "state": state,
        "state_since": ago(20),
        "created_at": ago(30),
        "last_seen_at": ago(1),
        "serving": state is ReplicaState.READY,
    }
    return ReplicaView(**(values | changes))


def a_load(**changes: object) -> Load:
    """Known, and nobody there."""
    return Load(**({"epoch": "e1", "in_flight": {}, "serving": frozenset()} | changes))


def seen(id: str, state: ReplicaState, **changes: object) -> ObservedReplica:
    values = {
        "name": f"r-{id}",
        "replica_id": id,
        "deployment_id": "d",
        "state": state,
        "stamps": {},
        "heartbeat_at": NOW,
        "healthy": state is ReplicaState.READY,
    }
    return ObservedReplica(**(values | changes))


def an_exit(code: int | None = 1, at: datetime = NOW, **changes: object) -> ExitRecord:
    return ExitRecord(**({"at": at, "code": code, "step": "engine"} | changes))


def a_snapshot(
    *replicas: ReplicaView, observed: tuple[ObservedReplica, ...] = (), deployment: DeploymentView | None = None,
    listing: Listing | None = None, **changes: object
) -> Snapshot:  # fmt: skip
    return Snapshot(
        deployment=deployment or a_deployment(),
        replicas=replicas,
        observed={replica.name: replica for replica in observed},
        listing=listing or Listing(NOW),
        policy=POLICY,
        now=NOW,
        **changes,
    )
