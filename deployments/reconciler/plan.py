"""What to do about one deployment, and what to say of it afterwards. Pure.

`plan` reads top to bottom as policy: adopt or reap → record what was seen → how many → not too often. (Replicas that
nobody wants any more are reaped by `sweep`, which looks at a whole cluster.) `conclude` follows once the actions are
done: what to tell people → when to look again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from deployments.reconciler import backoff, fate, status
from deployments.reconciler.actions import Action, Drain, End, GiveUp, Start, Stop
from deployments.reconciler.backoff import Backoff
from deployments.reconciler.snapshot import DeploymentView, Policy, ReplicaView, Snapshot
from deployments.states import STARTING_ORDER, DeploymentStatus, ReplicaState


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
    leaving = {action.replica_id for action in fates if isinstance(action, End | Stop)}
    staying = [one for one in snapshot.live if one.id not in leaving]
    return (*fates, *_drained(snapshot, staying), *_how_many(snapshot, staying, fates))


def _drained(snapshot: Snapshot, staying: Sequence[ReplicaView]) -> list[Action]:
    """Stop what has nothing in flight any more, or has had its time; an unknown load waits for the limit."""
    limit = timedelta(seconds=snapshot.policy.drain_seconds)
    draining = [one for one in staying if one.state is ReplicaState.DRAINING]
    return [
        Stop(one.id, "drained" if snapshot.in_flight.get(one.id) == 0 else "drain_limit")
        for one in draining
        if snapshot.in_flight.get(one.id) == 0 or snapshot.now - (one.drain_started_at or snapshot.now) >= limit
    ]


def _how_many(snapshot: Snapshot, staying: Sequence[ReplicaView], fates: Sequence[Action]) -> list[Action]:
    deployment, wanted = snapshot.deployment, [one for one in staying if one.is_wanted]
    earned = backoff.of(_after(snapshot, fates), snapshot.policy, snapshot.now)
    if deployment.is_ending:
        return [_let_go(one, "terminated") for one in wanted]
    if deployment.failed_at is not None or earned.exhausted:
        latch: list[Action] = [] if deployment.failed_at is not None else [GiveUp(earned.failures)]
        return latch + _release_all(wanted)
    missing = deployment.desired_replicas - len(wanted)
    if missing < 0:
        return [_let_go(one, "surplus") for one in _dispensable(wanted)[:-missing]]
    is_failing = any(isinstance(action, Stop) and action.problem for action in fates)
    if missing == 0 or is_failing or earned.holds(snapshot.now):
        return []
    return [Start(missing, replacing=earned.failures > 0)]


def _release_all(wanted: Sequence[ReplicaView]) -> list[Action]:
    """Given up: who still serves goes on serving; when nobody does, the GPUs are released."""
    if any(one.state is ReplicaState.READY for one in wanted):
        return []
    return [_let_go(one, "deployment_failed") for one in wanted]


def _let_go(replica: ReplicaView, reason: str) -> Action:
    """Who may have requests finishes them first."""
    return Drain(replica.id) if replica.state is ReplicaState.READY else Stop(replica.id, reason)


def _dispensable(wanted: Sequence[ReplicaView]) -> list[ReplicaView]:
    """Who goes first: the least far on, then the newest."""
    order = (*STARTING_ORDER, ReplicaState.READY)
    newest_first = sorted(wanted, key=lambda one: (one.created_at, one.id), reverse=True)
    return sorted(newest_first, key=lambda one: order.index(one.state))


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
    earned = backoff.of(replicas, policy, now)
    due = _next_due(deployment, replicas, policy, earned, now)
    reason = _reason(deployment, replicas, policy, earned, now)
    return Outcome(current, status.phase(current, replicas), reason, due)


def _next_due(
    deployment: DeploymentView, replicas: Sequence[ReplicaView], policy: Policy, earned: Backoff, now: datetime
) -> datetime | None:
    live = [one for one in replicas if one.is_live]
    if not live and (deployment.is_ending or deployment.failed_at is not None):
        return None
    if any(one.state is not ReplicaState.READY or not one.serving for one in live):
        return now + timedelta(seconds=policy.pass_seconds)
    if sum(one.is_wanted for one in live) == deployment.desired_replicas or deployment.failed_at is not None:
        return now + timedelta(seconds=policy.steady_seconds)
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
