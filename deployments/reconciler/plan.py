"""What to do about one deployment, and what to say of it afterwards. Pure.

`plan` reads top to bottom as policy: adopt or reap → record what was seen → how many (`scaling`) → of which revision
(`rollout`) → not too often (`backoff`). (Replicas that nobody wants any more are reaped by `sweep`, which looks at a
whole cluster.) `conclude` follows once the actions are done: what to tell people → when to look again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from deployments.reconciler import backoff, fate, rollout, scaling, status
from deployments.reconciler.actions import Action, End, GiveUp, Hold, RollBack, Start, Stop
from deployments.reconciler.backoff import Backoff
from deployments.reconciler.snapshot import DeploymentView, Policy, ReplicaView, Snapshot
from deployments.states import DeploymentStatus, ReplicaState


@dataclass(frozen=True)
class Outcome:
    """What to tell people, and when to look again (None: not until somebody asks)."""

    status: DeploymentStatus
    phase: str
    reason: str
    next_due_at: datetime | None


def plan(snapshot: Snapshot) -> tuple[Action, ...]:
    """The actions of this pass, in order. Without word from the cluster there is nothing to decide."""
    if not snapshot.listing.reachable:
        return ()
    fates = [action for replica in snapshot.live for action in fate.of(snapshot, replica)]
    drained = _drained(snapshot, [one for one in snapshot.live if one.id not in _leaving(fates)])
    leaving = _leaving([*fates, *drained])
    staying = [one for one in snapshot.live if one.id not in leaving]
    return (*fates, *drained, *_policy(snapshot, staying, fates))


def _leaving(actions: Iterable[Action]) -> set[str]:
    return {action.replica_id for action in actions if isinstance(action, End | Stop)}


def _drained(snapshot: Snapshot, staying: Sequence[ReplicaView]) -> list[Action]:
    """Stop what has nothing in flight any more, or has had its time; an unknown load waits for the limit."""
    limit = timedelta(seconds=snapshot.policy.drain_seconds)
    actions: list[Action] = []
    for one in staying:
        if one.state is not ReplicaState.DRAINING:
            continue
        if snapshot.load and snapshot.load.is_drained(one.id, one.drain_epoch):
            actions.append(Stop(one.id, "drained"))
        elif snapshot.now - (one.drain_started_at or snapshot.now) >= limit:
            actions.append(Stop(one.id, "drain_limit"))
    return actions


def _policy(snapshot: Snapshot, staying: Sequence[ReplicaView], fates: Sequence[Action]) -> list[Action]:
    deployment, wanted = snapshot.deployment, [one for one in staying if one.is_wanted]
    earned = backoff.of(deployment, _after(snapshot, fates), snapshot.policy, snapshot.now)
    if deployment.is_ending:
        return [rollout.let_go(one, "terminated") for one in wanted]
    if deployment.failed_at is not None:
        return _release_all(wanted)
    if earned.exhausted:
        return _give_up(deployment, wanted, earned)
    scale = scaling.how_many(snapshot, wanted)
    steps = rollout.steps(snapshot, staying, scale.replicas)
    is_failing = any(isinstance(action, Stop) and action.problem for action in fates)
    rests = steps.start == 0 or is_failing or earned.holds(snapshot.now)
    start = [] if rests else [Start(steps.start, replacing=earned.failures > 0)]
    hold = [Hold(steps.hold)] if steps.hold != deployment.rollout_hold else []
    return [*scale.actions, *steps.actions, *hold, *start]


def _give_up(deployment: DeploymentView, wanted: Sequence[ReplicaView], earned: Backoff) -> list[Action]:
    """A revision that cannot start gives way to the last one that could; without one the deployment has failed."""
    is_serving = any(one.state is ReplicaState.READY and one.spec_hash != deployment.spec_hash for one in wanted)
    if deployment.good_revision_id and (is_serving or not deployment.was_ready):
        return [RollBack(deployment.good_revision_id, earned.failures)]
    return [GiveUp(earned.failures), *_release_all(wanted)]


def _release_all(wanted: Sequence[ReplicaView]) -> list[Action]:
    """Given up: who still serves goes on serving; when nobody does, the GPUs are released."""
    if any(one.state is ReplicaState.READY for one in wanted):
        return []
    return [rollout.let_go(one, "deployment_failed") for one in wanted]


def _after(snapshot: Snapshot, fates: Sequence[Action]) -> list[ReplicaView]:
    """The replicas with the failures that this pass is about to write."""
    ends = {action.replica_id: action for action in fates if isinstance(action, End)}
    return [
        replace(one, state=ReplicaState.FAILED, released_at=ends[one.id].at)
        if one.id in ends and (one.failed or ends[one.id].crashed)
        else one
        for one in snapshot.replicas
    ]


def conclude(deployment: DeploymentView, replicas: Sequence[ReplicaView], policy: Policy, now: datetime) -> Outcome:
    """From the rows as they are after the actions."""
    current = status.derive(deployment, replicas)
    earned = backoff.of(deployment, replicas, policy, now)
    due = _next_due(deployment, replicas, policy, earned, now)
    reason = _reason(deployment, replicas, policy, earned, now)
    return Outcome(current, status.phase(current, replicas), reason, due)


def _next_due(
    deployment: DeploymentView, replicas: Sequence[ReplicaView], policy: Policy, earned: Backoff, now: datetime
) -> datetime | None:
    live = [one for one in replicas if one.is_live]
    if deployment.asleep_since == now and any(one.is_wanted for one in live):
        return now  # it fell asleep in this pass: the next one lets its replicas go
    if not live and (deployment.is_ending or deployment.failed_at is not None):
        return None
    if any(one.state is not ReplicaState.READY or not one.serving for one in live):
        return now + timedelta(seconds=policy.pass_seconds)
    if len({one.spec_hash for one in live}) > 1:
        return now + timedelta(seconds=policy.pass_seconds)
    if sum(one.is_wanted for one in live) == deployment.desired_replicas or deployment.failed_at is not None:
        is_sampled = deployment.min_replicas < deployment.max_replicas and live
        return now + timedelta(seconds=policy.autoscaler.sample_seconds if is_sampled else policy.steady_seconds)
    if earned.not_before and earned.holds(now):
        return earned.not_before
    return now + timedelta(seconds=policy.pending_seconds if deployment.pending_since else policy.pass_seconds)


def _reason(
    deployment: DeploymentView, replicas: Sequence[ReplicaView], policy: Policy, earned: Backoff, now: datetime
) -> str:
    """Why fewer replicas run than are wanted; empty when none is missing."""
    wanted = sum(one.is_wanted for one in replicas)
    if deployment.is_ending or deployment.failed_at is not None or wanted >= deployment.desired_replicas:
        return ""
    if earned.not_before and earned.holds(now):
        seconds = max(1, round((earned.not_before - now).total_seconds()))
        return f"Starts again in {seconds} s, after failure {earned.failures} of {policy.failures_before_failed}"
    return deployment.pending_reason if deployment.pending_since else ""
