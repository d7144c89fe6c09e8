"""How many replicas a deployment should have: asleep or awake, and while awake what the autoscaler decides. Pure.

Falling asleep is only proposed here. A script in Redis decides, atomically with the counters that the gateways share
(routing/sleep.lua), so that no request is admitted in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from deployments.codes import Reason, ReasonCode
from deployments.reconciler import autoscaler
from deployments.reconciler.autoscaler import Memory, Range, Signals
from deployments.reconciler.plan_actions import Action, FallAsleep, Remember, Scale, Wake
from deployments.reconciler.snapshot import DeploymentView, ReplicaView, Snapshot
from deployments.states import ReplicaState

if TYPE_CHECKING:
    from deployments.routing.load import Load


@dataclass(frozen=True)
class ReplicaCount:
    """The number of replicas to work towards, and the actions that record the decision."""

    replicas: int
    actions: tuple[Action, ...] = ()


def decide(snapshot: Snapshot, active: Sequence[ReplicaView]) -> ReplicaCount:
    """For a deployment that is neither ending nor failed; `active` are its starting and ready replicas."""
    deployment, load = snapshot.deployment, snapshot.load
    if deployment.asleep_since is not None:
        return _decide_asleep(snapshot)
    signals = Signals(
        load=load.total if load else None,
        waiting=load.waiting if load else 0,
        oldest_waiting_seconds=load.oldest_waiting_seconds if load else 0.0,
        max_concurrency=deployment.max_concurrency,
        current=deployment.desired_replicas,
        ready=sum(replica.state is ReplicaState.READY for replica in active),
        starting=sum(replica.is_starting for replica in active),
        epoch=load.epoch if load else "",
    )
    allowed = Range(deployment.min_replicas, deployment.max_replicas, deployment.scale_down_delay_seconds)
    before = Memory.from_json(deployment.memory, deployment.load_known_at)
    decision = autoscaler.decide(allowed, signals, before, snapshot.policy.autoscaler, snapshot.now)
    memory = decision.memory
    if deployment.min_replicas == 0 and memory.since is None and load is not None:
        # To sleep it must be known since when this Redis has counted, even if the range leaves nothing to scale.
        memory = before if before.epoch == load.epoch else Memory(load.epoch, snapshot.now)
    actions: list[Action] = []
    if decision.reason:
        actions.append(Scale(decision.replicas, decision.reason))
    if memory != before:
        actions.append(Remember(memory.to_json(), memory.load_known_at))
    actions += _propose_sleep(snapshot, active, memory)
    return ReplicaCount(decision.replicas, tuple(actions))


def _decide_asleep(snapshot: Snapshot) -> ReplicaCount:
    deployment, load = snapshot.deployment, snapshot.load
    first = max(1, deployment.min_replicas)
    if deployment.min_replicas > 0:
        return ReplicaCount(first, (Wake(first, Reason(ReasonCode.MINIMUM_RAISED, min_replicas=first)),))
    if load is not None and (load.wake or load.total):  # in flight: admitted despite sleep, around a publication
        return ReplicaCount(first, (Wake(first, Reason(ReasonCode.REQUEST_ARRIVED), load.waiting),))
    return ReplicaCount(0)


def _propose_sleep(snapshot: Snapshot, active: Sequence[ReplicaView], memory: Memory) -> list[Action]:
    deployment, load = snapshot.deployment, snapshot.load
    idle_since = find_idle_since(deployment, active, load, memory)
    if deployment.min_replicas > 0 or load is None or idle_since is None:
        return []
    idle_seconds = _required_idle_seconds(snapshot, active)
    if idle_seconds is None:
        return []
    is_idle = snapshot.now - idle_since >= timedelta(seconds=idle_seconds)
    return [FallAsleep(load.epoch, idle_seconds)] if is_idle else []


def find_idle_since(
    deployment: DeploymentView, active: Sequence[ReplicaView], load: Load | None, memory: Memory
) -> datetime | None:
    """Since when nothing has asked for the deployment; None while requests are there, and while it is unknown."""
    if load is None or load.total or memory.since is None:
        return None
    ready = [replica.ready_at for replica in active if replica.ready_at]
    others = filter(None, (load.last_arrival_at, deployment.woken_at, deployment.tried_since))
    return max([memory.since, *ready, *others])


def _required_idle_seconds(snapshot: Snapshot, active: Sequence[ReplicaView]) -> float | None:
    """None while the deployment must not sleep: a start whose GPUs are allocated is completed, and a deployment that
    was never ready does not sleep."""
    if any(replica.is_starting and replica.state is not ReplicaState.REQUESTING_GPU for replica in active):
        return None
    if any(replica.state is ReplicaState.READY for replica in active):
        return snapshot.deployment.sleep_after_seconds if all(replica.ready_at for replica in active) else None
    return snapshot.policy.unwanted_wake_seconds if snapshot.deployment.woken_at else None
