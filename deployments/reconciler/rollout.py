"""Which revision the replicas run: towards `replicas` of the desired configuration. Pure.

An old replica is given up only after its replacement has settled. With a free GPU the new replica starts first (surge).
Without one an old replica drains first, while the gateways hold requests. If its GPUs would go to another deployment,
the update is held with a reason.

An unknown replica (`ReplicaState.UNKNOWN`) may still run: it takes the place of one that would be started, and no other
replica is drained or stopped because of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from deployments.codes import Reason, ReasonCode, StopReason
from deployments.reconciler.plan_actions import Action, Drain, Resume, Stop
from deployments.reconciler.snapshot import ReplicaView, Snapshot
from deployments.states import STARTING_ORDER, ReplicaState

ORDER = (*STARTING_ORDER, ReplicaState.READY)


@dataclass(frozen=True)
class Steps:
    """Replicas to drain, stop or resume, how many to start, and why the update is held."""

    actions: tuple[Action, ...] = ()
    start: int = 0
    hold: Reason | None = None


def plan_steps(snapshot: Snapshot, staying: Sequence[ReplicaView], replicas: int) -> Steps:
    """`staying`: live replicas that this pass does not end."""
    desired_hash = snapshot.deployment.spec_hash
    active = [replica for replica in staying if replica.is_active]
    unknown = sum(replica.is_unknown for replica in staying)
    new = [replica for replica in active if replica.spec_hash == desired_hash]
    old = [replica for replica in active if replica.spec_hash != desired_hash]
    if old and replicas:
        return _plan_update(snapshot, old, new, max(1, replicas - unknown))
    if (surplus := len(active) - replicas) > 0:
        reason = StopReason.SURPLUS if replicas else StopReason.ASLEEP
        return Steps(tuple(release(replica, reason) for replica in _most_dispensable_first(active)[:surplus]))
    resumable = [
        replica
        for replica in staying
        if replica.state is ReplicaState.DRAINING
        and replica.spec_hash == desired_hash
        and (seen := snapshot.observed.get(replica.name)) is not None
        and seen.healthy
    ]
    resumable.sort(key=lambda replica: replica.ready_at or replica.created_at)
    missing = replicas - len(active)
    resumed = tuple(Resume(replica.id) for replica in resumable[:missing])
    return Steps(resumed, max(0, missing - len(resumed) - unknown))


def release(replica: ReplicaView, reason: StopReason) -> Action:
    """Drain a replica that may have requests in flight; stop any other."""
    return Drain(replica.id) if replica.state is ReplicaState.READY else Stop(replica.id, reason)


def _plan_update(snapshot: Snapshot, old: Sequence[ReplicaView], new: Sequence[ReplicaView], replicas: int) -> Steps:
    """One step of a rolling update. Old replicas that are still starting are stopped at once."""
    superseded = [Stop(replica.id, StopReason.SUPERSEDED) for replica in old if replica.is_starting]
    serving = [replica for replica in old if not replica.is_starting]
    surplus = _most_dispensable_first(new)[: max(0, len(new) - replicas)]
    settled = sum(_is_settled(snapshot, replica) for replica in new if replica not in surplus)
    replaced = _most_dispensable_first(serving)[: max(0, settled + len(serving) - replicas)]
    leaving = (
        *superseded,
        *(release(replica, StopReason.SURPLUS) for replica in surplus),
        *(Drain(replica.id) for replica in replaced),
    )
    missing = replicas - len(new)
    shortage = replicas - (len(serving) - len(replaced)) - len(new)
    surge = min(missing, shortage + max(1, replicas // 4))
    pool = snapshot.pool
    fitting = 0 if pool.ahead else pool.free // snapshot.deployment.gpu_count  # without overtaking in the queue
    if shortage > 0:  # these replicas are missing in any case: they queue for GPUs
        start = min(missing, max(shortage, min(surge, fitting)))
        return Steps(leaving if leaving or fitting else _drain_for_gpus(snapshot, serving, new).actions, start)
    if surge <= 0 or leaving:
        return Steps(leaving)
    return Steps((), min(surge, fitting)) if fitting else _drain_for_gpus(snapshot, serving, new)


def _drain_for_gpus(snapshot: Snapshot, serving: Sequence[ReplicaView], new: Sequence[ReplicaView]) -> Steps:
    """No GPU is free: drain as few old replicas as free the GPUs of one new replica, unless others wait for them.

    Before that, the new replicas settle and the ending ones release their GPUs.
    """
    is_any_ending = sum(not replica.is_unknown for replica in snapshot.live) > len(serving) + len(new)
    if is_any_ending or not all(_is_settled(snapshot, replica) for replica in new):
        return Steps()
    pool, needed = snapshot.pool, snapshot.deployment.gpu_count
    if pool.ahead:
        facts = {"gpu": pool.title, "gpu_count": needed, "ahead": pool.ahead}
        return Steps(hold=Reason(ReasonCode.UPDATE_BEHIND_OTHERS, **facts))
    freed, leaving = pool.free, []
    for replica in _most_dispensable_first(serving):
        leaving.append(Drain(replica.id))
        freed += replica.gpu_count
        if freed >= needed:
            return Steps(tuple(leaving))
    return Steps(hold=Reason(ReasonCode.UPDATE_POOL_TOO_SMALL, gpu=pool.title, gpu_count=needed, freed=freed))


def _is_settled(snapshot: Snapshot, replica: ReplicaView) -> bool:
    since = replica.ready_at or replica.state_since
    is_old_enough = snapshot.now - since >= timedelta(seconds=snapshot.policy.settle_seconds)
    return replica.state is ReplicaState.READY and replica.serving and is_old_enough


def _most_dispensable_first(active: Sequence[ReplicaView]) -> list[ReplicaView]:
    """Starting before ready, the earlier phase first; then those that do not serve; then the newest."""
    newest_first = sorted(active, key=lambda replica: replica.created_at, reverse=True)
    return sorted(newest_first, key=lambda replica: (ORDER.index(replica.state), replica.serving))
