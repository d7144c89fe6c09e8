"""How many replicas: asleep or awake, and between them what the autoscaler makes of the load. Pure.

Sleep is only proposed here: the counters that the gateways share decide, in one step (scripts/sleep.lua), so that no
request slips in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from deployments.reconciler import autoscaler
from deployments.reconciler.actions import Action, FallAsleep, Remember, Scale, Wake
from deployments.reconciler.autoscaler import Decision, Memory, Range, Seen
from deployments.reconciler.snapshot import DeploymentView, ReplicaView, Snapshot
from deployments.states import ReplicaState


@dataclass(frozen=True)
class HowMany:
    """The number of replicas to work towards now, and what to write down of it."""

    replicas: int
    actions: tuple[Action, ...] = ()


def how_many(snapshot: Snapshot, wanted: Sequence[ReplicaView]) -> HowMany:
    """For a deployment that is neither ending nor given up; `wanted` are its starting and ready replicas."""
    if snapshot.deployment.asleep_since is not None:
        return _asleep(snapshot)
    before = Memory.from_json(snapshot.deployment.memory)
    decision = autoscaler.decide(
        _range(snapshot.deployment), _seen(snapshot, wanted), before, snapshot.policy.autoscaler, snapshot.now
    )
    memory = _listening(snapshot, before, decision.memory)
    actions = [*_written(snapshot.deployment, decision, memory), *_sleep(snapshot, wanted, memory)]
    return HowMany(decision.replicas, tuple(actions))


def _asleep(snapshot: Snapshot) -> HowMany:
    deployment, load = snapshot.deployment, snapshot.load
    first = max(1, deployment.min_replicas)
    if deployment.min_replicas > 0:
        return HowMany(first, (Wake(first, f"at least {first} wanted"),))
    if load is not None and (load.wake or load.total):  # in flight: one slipped in past a publication
        return HowMany(first, (Wake(first, "a request arrived", load.waiting),))
    return HowMany(0)


def _range(deployment: DeploymentView) -> Range:
    return Range(deployment.min_replicas, deployment.max_replicas, deployment.scale_down_delay_seconds)


def _seen(snapshot: Snapshot, wanted: Sequence[ReplicaView]) -> Seen:
    load = snapshot.load
    return Seen(
        load=load.total if load else None,
        waiting=load.waiting if load else 0,
        oldest_waiting_seconds=load.oldest_waiting_seconds if load else 0.0,
        max_concurrency=snapshot.deployment.max_concurrency,
        current=snapshot.deployment.desired_replicas,
        ready=sum(one.state is ReplicaState.READY for one in wanted),
        starting=sum(one.is_starting for one in wanted),
        epoch=load.epoch if load else "",
    )


def _listening(snapshot: Snapshot, before: Memory, after: Memory) -> Memory:
    """Who may sleep must know since when this Redis was heard, also where the range leaves nothing to scale."""
    if snapshot.deployment.min_replicas > 0 or after.since is not None or snapshot.load is None:
        return after
    return before if before.epoch == snapshot.load.epoch else Memory(snapshot.load.epoch, snapshot.now)


def _written(deployment: DeploymentView, decision: Decision, memory: Memory) -> list[Action]:
    actions: list[Action] = []
    if decision.replicas != deployment.desired_replicas:
        actions.append(Scale(decision.replicas, decision.reason, decision.inputs))
    if (kept := memory.to_json()) != deployment.memory:
        actions.append(Remember(kept))
    return actions


def _sleep(snapshot: Snapshot, wanted: Sequence[ReplicaView], memory: Memory) -> list[Action]:
    deployment, load = snapshot.deployment, snapshot.load
    if deployment.min_replicas > 0 or load is None or load.total or memory.since is None:
        return []
    seconds = _idle_seconds(snapshot, wanted)
    if seconds is None:
        return []
    ready = [one.ready_at for one in wanted if one.ready_at]
    began = [memory.since, *ready, *filter(None, (load.last_arrival_at, deployment.woken_at, deployment.tried_since))]
    is_quiet = snapshot.now - max(began) >= timedelta(seconds=seconds)
    return [FallAsleep(load.epoch, seconds)] if is_quiet else []


def _idle_seconds(snapshot: Snapshot, wanted: Sequence[ReplicaView]) -> float | None:
    """How long it must have been quiet; None while it must not sleep at all: once GPUs are allocated to a start, the
    start is finished, and a deployment that never ran shows first that it does."""
    if any(one.is_starting and one.state is not ReplicaState.REQUESTING_GPU for one in wanted):
        return None
    if any(one.state is ReplicaState.READY for one in wanted):
        return snapshot.deployment.sleep_after_seconds if all(one.ready_at for one in wanted) else None
    return snapshot.policy.unwanted_wake_seconds if snapshot.deployment.woken_at else None
