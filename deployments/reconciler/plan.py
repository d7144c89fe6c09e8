"""The policy for one deployment: which actions a pass takes, and what follows from them. Pure.

`plan` reads from top to bottom: what happens to each replica (`replica_policy`) → end of drains → how many replicas
(`replica_count`) → of which revision (`rollout`) → not too often (`backoff`). Once the actions are carried out,
`conclude` derives the status and the time of the next pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from deployments.codes import Reason, ReasonCode, StopReason
from deployments.reconciler import backoff, replica_count, replica_policy, rollout, status
from deployments.reconciler.backoff import Backoff
from deployments.reconciler.plan_actions import Action, End, GiveUp, Hold, MarkUnknown, RollBack, Start, Stop
from deployments.reconciler.snapshot import DeploymentView, Policy, ReplicaView, Snapshot
from deployments.states import DeploymentStatus, ReplicaState


@dataclass(frozen=True)
class Conclusion:
    """What users see, and when the next pass is due (None: only after a change)."""

    status: DeploymentStatus
    phase: str
    reason: Reason | None
    next_due_at: datetime | None


def plan(snapshot: Snapshot) -> tuple[Action, ...]:
    """The actions of this pass, in order. While the cluster is unreachable there are none."""
    if not snapshot.listing.reachable:
        return ()
    decided = [action for replica in snapshot.live for action in replica_policy.decide(snapshot, replica)]
    unknown = {action.replica_id for action in decided if isinstance(action, MarkUnknown)}
    live = [
        replace(replica, state=ReplicaState.UNKNOWN) if replica.id in unknown else replica for replica in snapshot.live
    ]
    leaving = _leaving_ids(decided)
    drained = _finish_drains(snapshot, [replica for replica in live if replica.id not in leaving])
    leaving |= _leaving_ids(drained)
    staying = [replica for replica in live if replica.id not in leaving]
    return (*decided, *drained, *_plan_replicas(snapshot, staying, decided))


def _leaving_ids(actions: Iterable[Action]) -> set[str]:
    return {action.replica_id for action in actions if isinstance(action, End | Stop)}


def _finish_drains(snapshot: Snapshot, staying: Sequence[ReplicaView]) -> list[Action]:
    """Stop draining replicas that have nothing in flight or reached the limit; an unknown load waits for the limit."""
    limit = timedelta(seconds=snapshot.policy.drain_seconds)
    actions: list[Action] = []
    for replica in staying:
        if replica.state is not ReplicaState.DRAINING:
            continue
        if snapshot.load and snapshot.load.is_drained(replica.id, replica.drain_epoch):
            actions.append(Stop(replica.id, StopReason.DRAINED))
        elif snapshot.now - (replica.drain_started_at or snapshot.now) >= limit:
            actions.append(Stop(replica.id, StopReason.DRAIN_LIMIT))
    return actions


def _plan_replicas(snapshot: Snapshot, staying: Sequence[ReplicaView], decided: Sequence[Action]) -> list[Action]:
    """`decided`: the actions of this pass so far; the failures among them count for the back-off."""
    deployment, active = snapshot.deployment, [replica for replica in staying if replica.is_active]
    if deployment.is_ending:
        return [rollout.release(replica, StopReason.TERMINATED) for replica in active]
    if deployment.failed_at is not None:
        return _release_unless_serving(active)
    restart = backoff.compute(deployment, _with_failures(snapshot, decided), snapshot.policy, snapshot.now)
    if restart.is_exhausted:
        return _give_up(deployment, active, restart)
    count = replica_count.decide(snapshot, active)
    steps = rollout.plan_steps(snapshot, staying, count.replicas)
    is_failing = any(isinstance(action, Stop) and action.problem for action in decided)
    may_start = steps.start > 0 and not is_failing and not restart.is_active
    start = [Start(steps.start, replacing=restart.failures > 0)] if may_start else []
    hold = [Hold(steps.hold)] if steps.hold != deployment.rollout_hold else []
    return [*count.actions, *steps.actions, *hold, *start]


def _give_up(deployment: DeploymentView, active: Sequence[ReplicaView], restart: Backoff) -> list[Action]:
    """Roll back a revision that cannot start to the last one that could; without one the deployment has failed."""
    is_old_serving = any(
        replica.state is ReplicaState.READY and replica.spec_hash != deployment.spec_hash for replica in active
    )
    if deployment.good_revision_id and (is_old_serving or not deployment.was_ready):
        return [RollBack(deployment.good_revision_id, restart.failures)]
    return [GiveUp(restart.failures), *_release_unless_serving(active)]


def _release_unless_serving(active: Sequence[ReplicaView]) -> list[Action]:
    """After giving up, ready replicas continue to serve; when there are none, the GPUs are released."""
    if any(replica.state is ReplicaState.READY for replica in active):
        return []
    return [rollout.release(replica, StopReason.DEPLOYMENT_FAILED) for replica in active]


def _with_failures(snapshot: Snapshot, decided: Sequence[Action]) -> list[ReplicaView]:
    """The replicas as they are once the failures of this pass are written."""
    ends = {action.replica_id: action for action in decided if isinstance(action, End)}
    return [
        replace(replica, state=ReplicaState.FAILED, released_at=ends[replica.id].at)
        if replica.id in ends and (replica.failed or ends[replica.id].crashed)
        else replica
        for replica in snapshot.replicas
    ]


def conclude(deployment: DeploymentView, replicas: Sequence[ReplicaView], policy: Policy, now: datetime) -> Conclusion:
    """From the rows as they are after the actions."""
    restart = backoff.compute(deployment, replicas, policy, now)
    counted = sum(replica.is_counted for replica in replicas)
    reason = None  # why fewer replicas of the desired configuration run than desired
    if restart.not_before and restart.delays_start:
        attempts, not_before = policy.failures_before_failed, restart.not_before.isoformat()
        reason = Reason(ReasonCode.BACK_OFF, failures=restart.failures, attempts=attempts, not_before=not_before)
    elif not deployment.is_ending and deployment.failed_at is None and counted < deployment.desired_replicas:
        reason = deployment.pending_reason if deployment.pending_since else None
    current = status.derive(deployment, replicas)
    phase = status.derive_phase(current, replicas)
    return Conclusion(current, phase, reason, _next_due(deployment, replicas, policy, restart, now))


def _next_due(
    deployment: DeploymentView, replicas: Sequence[ReplicaView], policy: Policy, restart: Backoff, now: datetime
) -> datetime | None:
    live = [replica for replica in replicas if replica.is_live]
    known = [replica for replica in live if not replica.is_unknown]
    active = [replica for replica in live if replica.is_active]
    counted = sum(replica.is_counted for replica in live)
    if deployment.asleep_since == now and active:
        return now  # it fell asleep in this pass: the next one releases its replicas
    if not live and (deployment.is_ending or deployment.failed_at is not None):
        return None
    is_changing = any(replica.state is not ReplicaState.READY or not replica.serving for replica in known)
    if is_changing or len({replica.spec_hash for replica in known}) > 1:
        return now + timedelta(seconds=policy.pass_seconds)
    if counted == deployment.desired_replicas or deployment.failed_at is not None:
        is_sampled = deployment.min_replicas < deployment.max_replicas and live
        due = now + timedelta(seconds=policy.autoscaler.sample_seconds if is_sampled else policy.steady_seconds)
        return min(due, restart.not_before) if restart.not_before and restart.delays_start else due
    if restart.delays_start:
        return restart.not_before
    return now + timedelta(seconds=policy.pending_seconds if deployment.pending_since else policy.pass_seconds)
