"""What becomes of one live replica, from its row and what the cluster shows of it. Pure.

Adopt what is there, record it, and decide whether it has ended, must end, or may go on.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from deployments.drivers.base import ExitRecord, ObservedReplica
from deployments.reconciler import deadlines
from deployments.reconciler.actions import Action, Confirm, End, Record, Stop
from deployments.reconciler.snapshot import ReplicaView, Snapshot
from deployments.states import STARTING_ORDER, ReplicaState

ORDER = (*STARTING_ORDER, ReplicaState.READY)
# How a program ends when its machine or its supervisor is switched off: killed, or not reaped by anybody.
SWITCHED_OFF = frozenset({None, -15, -9, 143, 137})
UNWATCHED = "ended_unwatched"


def of(snapshot: Snapshot, replica: ReplicaView) -> list[Action]:
    """In the order in which they are to be carried out; the last one says how the replica goes on."""
    seen = snapshot.observed.get(replica.name)
    if seen is None:
        return _unseen(snapshot, replica)
    record = _record(snapshot, replica, seen)
    if seen.exited:
        return [record, _end(snapshot, replica, seen.exited)]
    problem = _problem(snapshot, replica, record)
    if replica.state is ReplicaState.STOPPING:
        return [record, Stop(replica.id, "")]
    return [record, Stop(replica.id, "failed", problem)] if problem else [record]


def _unseen(snapshot: Snapshot, replica: ReplicaView) -> list[Action]:
    """The cluster does not show it: not yet, or not any more. Silence of a stale or partial listing says nothing."""
    last = max(filter(None, (replica.created_at, replica.last_seen_at, replica.stop_requested_at)))
    if not snapshot.listing.shows_absence_since(last):
        return []
    if replica.is_starting and replica.last_seen_at is None and not snapshot.was_unwatched:
        problem = _deadline(snapshot, replica, replica.state, replica.state_since)
        return [Stop(replica.id, "failed", problem) if problem else Confirm(replica.id)]
    gone_at = max(replica.state_since, replica.last_seen_at or replica.created_at)
    return [_end(snapshot, replica, None, min(gone_at, snapshot.now))]


def _end(snapshot: Snapshot, replica: ReplicaView, exited: ExitRecord | None, gone_at: datetime | None = None) -> End:
    at = exited.at if exited else gone_at or snapshot.now
    if not replica.is_wanted or snapshot.deployment.is_ending:
        return End(replica.id, at, exited)
    by_no_fault = exited is None or (exited.code in SWITCHED_OFF and not exited.out_of_memory)
    if snapshot.was_unwatched and by_no_fault:
        return End(replica.id, at, exited, reason=UNWATCHED)
    return End(replica.id, at, exited, crashed=True)


def _record(snapshot: Snapshot, replica: ReplicaView, seen: ObservedReplica) -> Record:
    steps = _steps(replica, seen, snapshot.now)
    state = steps[-1][0] if steps else replica.state
    if state is not ReplicaState.READY:
        return Record(replica.id, seen, steps)
    since = None if seen.healthy or snapshot.was_unwatched else replica.unhealthy_since
    unhealthy_since = None if seen.healthy else since or snapshot.now
    return Record(replica.id, seen, steps, serving=seen.healthy, unhealthy_since=unhealthy_since)


def _steps(replica: ReplicaView, seen: ObservedReplica, now: datetime) -> tuple[tuple[ReplicaState, datetime], ...]:
    """The states entered since the row was written, each at max(previous, min(the provider's stamp, now))."""
    if not replica.is_starting:
        return ()
    first, last = ORDER.index(replica.state) + 1, ORDER.index(seen.state)
    previous, steps = replica.state_since, []
    for state in ORDER[first : last + 1]:
        if state in seen.stamps or state is seen.state:
            previous = max(previous, min(seen.stamps.get(state, now), now))
            steps.append((state, previous))
    return tuple(steps)


def _problem(snapshot: Snapshot, replica: ReplicaView, record: Record) -> str:
    """The key of what is wrong with a replica that lives; empty when nothing is."""
    state, since = record.steps[-1] if record.steps else (replica.state, replica.state_since)
    if state in STARTING_ORDER:
        return _deadline(snapshot, replica, state, since)
    limit = timedelta(seconds=snapshot.policy.unhealthy_deadline_seconds)
    if state is ReplicaState.READY and record.unhealthy_since and snapshot.now - record.unhealthy_since > limit:
        return "unhealthy"
    return ""


def _deadline(snapshot: Snapshot, replica: ReplicaView, state: ReplicaState, since: datetime) -> str:
    policy = snapshot.policy
    base = policy.phase_deadline_seconds.get(state.value)
    if base is None:
        return ""
    limit = deadlines.deadline_seconds(state.value, base, replica.weight_bytes, policy.floor_mib_per_second)
    return f"deadline:{state.value}" if (snapshot.now - since).total_seconds() > limit else ""
