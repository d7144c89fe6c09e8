"""Of which revision: towards `replicas` replicas of the wanted configuration, never giving up what serves before what
replaces it has settled. Pure.

Surge where a GPU is free; else replace one at a time while the gateways hold requests; else hold, and say why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from deployments.reconciler import gpu_queue
from deployments.reconciler.actions import Action, Drain, Resume, Stop
from deployments.reconciler.snapshot import ReplicaView, Snapshot
from deployments.states import STARTING_ORDER, ReplicaState

ORDER = (*STARTING_ORDER, ReplicaState.READY)


@dataclass(frozen=True)
class Steps:
    """Who goes or comes back, how many to start, and why the update does not go on."""

    actions: tuple[Action, ...] = ()
    start: int = 0
    hold: str = ""


def steps(snapshot: Snapshot, staying: Sequence[ReplicaView], replicas: int) -> Steps:
    """`staying`: live replicas that this pass does not end."""
    wanted = [one for one in staying if one.is_wanted]
    new = [one for one in wanted if one.spec_hash == snapshot.deployment.spec_hash]
    old = [one for one in wanted if one.spec_hash != snapshot.deployment.spec_hash]
    if old and replicas:
        return _roll(snapshot, old, new, replicas)
    if (surplus := len(wanted) - replicas) > 0:
        reason = "surplus" if replicas else "asleep"
        return Steps(tuple(let_go(one, reason) for one in _dispensable(wanted)[:surplus]))
    back = _draining_again(snapshot, staying)[: replicas - len(wanted)]
    return Steps(tuple(Resume(one.id) for one in back), replicas - len(wanted) - len(back))


def let_go(replica: ReplicaView, reason: str) -> Action:
    """Who may have requests finishes them first."""
    return Drain(replica.id) if replica.state is ReplicaState.READY else Stop(replica.id, reason)


def _roll(snapshot: Snapshot, old: Sequence[ReplicaView], new: Sequence[ReplicaView], replicas: int) -> Steps:
    """One step of a rolling update. What of the old revision is still starting is not waited for."""
    superseded = [Stop(one.id, "superseded") for one in old if one.is_starting]
    serving = [one for one in old if not one.is_starting]
    too_many = _dispensable(new)[: max(0, len(new) - replicas)]
    settled = sum(_is_settled(snapshot, one) for one in new if one not in too_many)
    relieved = _dispensable(serving)[: max(0, settled + len(serving) - replicas)]
    left = len(serving) - len(relieved)
    going = (*superseded, *(let_go(one, "surplus") for one in too_many), *(Drain(one.id) for one in relieved))
    missing = replicas - len(new)
    short = replicas - left - len(new)
    room, fitting = min(missing, short + max(1, replicas // 4)), _fitting(snapshot)
    if short > 0:  # who is missing altogether queues up for GPUs like everybody
        start = min(missing, max(short, min(room, fitting)))
        return Steps(going if going or fitting else _replace(snapshot, serving, new).actions, start)
    if room <= 0 or going:
        return Steps(going)
    return Steps((), min(room, fitting)) if fitting else _replace(snapshot, serving, new)


def _replace(snapshot: Snapshot, serving: Sequence[ReplicaView], new: Sequence[ReplicaView]) -> Steps:
    """No GPU is free: give up as few of the old as make place for one of the new, when nobody else would take it.

    First the new ones that are there settle, and whoever ends lets go of its GPUs.
    """
    are_ending = len(snapshot.live) > len(serving) + len(new)
    if are_ending or not all(_is_settled(snapshot, one) for one in new):
        return Steps()
    pool, needed = snapshot.pool, snapshot.deployment.gpu_count
    what = gpu_queue.describe_gpus(needed, pool.title)
    if pool.ahead:
        others = "another deployment waits" if pool.ahead == 1 else f"{pool.ahead} other deployments wait"
        return Steps(hold=f"Needs {what} for the new revision; {others} for the next one that is free")
    freed, leaving = pool.free, []
    for one in _dispensable(serving):
        leaving.append(Drain(one.id))
        freed += one.gpu_count
        if freed >= needed:
            return Steps(tuple(leaving))
    return Steps(hold=f"Needs {what} for the new revision; even without the old replicas only {freed} would be free")


def _fitting(snapshot: Snapshot) -> int:
    """How many replicas of the new revision have GPUs now without overtaking anybody."""
    return 0 if snapshot.pool.ahead else snapshot.pool.free // snapshot.deployment.gpu_count


def _is_settled(snapshot: Snapshot, replica: ReplicaView) -> bool:
    since = replica.ready_at or replica.state_since
    is_old_enough = snapshot.now - since >= timedelta(seconds=snapshot.policy.settle_seconds)
    return replica.state is ReplicaState.READY and replica.serving and is_old_enough


def _draining_again(snapshot: Snapshot, staying: Sequence[ReplicaView]) -> list[ReplicaView]:
    """Draining replicas of the wanted configuration that still answer, the longest ready first."""
    draining = [
        one
        for one in staying
        if one.state is ReplicaState.DRAINING
        and one.spec_hash == snapshot.deployment.spec_hash
        and (seen := snapshot.observed.get(one.name)) is not None
        and seen.healthy
    ]
    return sorted(draining, key=lambda one: one.ready_at or one.created_at)


def _dispensable(wanted: Sequence[ReplicaView]) -> list[ReplicaView]:
    """Who goes first: the least far on, then who does not serve, then the newest."""
    newest_first = sorted(wanted, key=lambda one: one.created_at, reverse=True)
    return sorted(newest_first, key=lambda one: (ORDER.index(one.state), one.serving))
