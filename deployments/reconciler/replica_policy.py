"""What happens to one replica, given its row and what the cluster shows of it. Pure.

A replica with a live row is adopted and recorded, and has ended, must stop or continues (`decide`). A replica without
one is an orphan (`find_orphans`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from deployments.codes import StopReason
from deployments.drivers.base import ExitRecord, ObservedReplica
from deployments.reconciler import deadlines
from deployments.reconciler.plan_actions import Action, Confirm, End, MarkUnknown, Record, Stop
from deployments.reconciler.snapshot import ReplicaView, Snapshot
from deployments.states import LIVE, STARTING_ORDER, ReplicaState

ORDER = (*STARTING_ORDER, ReplicaState.READY)
# Exit codes of a program whose machine or supervisor was switched off: killed, or never reaped.
SWITCHED_OFF = frozenset({None, -15, -9, 143, 137})


def decide(snapshot: Snapshot, replica: ReplicaView) -> list[Action]:
    """The actions for a live replica, in the order in which they are carried out."""
    seen = snapshot.observed.get(replica.name)
    if seen is None:
        return _decide_absent(snapshot, replica)
    record = _record(snapshot, replica, seen)
    if seen.exited:
        return [record, _end(snapshot, replica, seen.exited, seen.exited.at)]
    if replica.state is ReplicaState.STOPPING or ReplicaState.STOPPING in dict(record.steps):
        return [record, Stop(replica.id, None)]
    problem = ""
    state, since = record.steps[-1] if record.steps else (replica.state, replica.state_since)
    if snapshot.deployment.is_ending:
        problem = ""
    elif state in STARTING_ORDER:
        problem = deadlines.find_missed(snapshot.policy, state, since, replica.weight_bytes, snapshot.now)
    elif state is ReplicaState.READY and record.unhealthy_since:
        limit = timedelta(seconds=snapshot.policy.unhealthy_deadline_seconds)
        problem = deadlines.UNHEALTHY if snapshot.now - record.unhealthy_since > limit else ""
    return [record, Stop(replica.id, StopReason.FAILED, problem)] if problem else [record]


def _decide_absent(snapshot: Snapshot, replica: ReplicaView) -> list[Action]:
    """The cluster does not show it: not yet, or no longer. A stale or partial listing proves no absence.

    A replica that was never shown did not start. One that was shown leaves a record of its end: without any, nothing is
    known about it.
    """
    last = max(filter(None, (replica.created_at, replica.last_seen_at, replica.stop_requested_at)))
    if not snapshot.listing.shows_absence_since(last):
        return []
    if replica.is_unknown:
        return [End(replica.id, replica.state_since, crashed=True)] if replica.gone_declared_at else []
    if replica.last_seen_at is not None:
        return [MarkUnknown(replica.id, replica.last_seen_at)]
    if replica.is_starting and not snapshot.was_unobserved:
        missed = (
            ""
            if snapshot.deployment.is_ending
            else deadlines.find_missed(
                snapshot.policy, replica.state, replica.state_since, replica.weight_bytes, snapshot.now
            )
        )
        return [Stop(replica.id, StopReason.FAILED, missed) if missed else Confirm(replica.id)]
    return [_end(snapshot, replica, None, min(max(replica.state_since, replica.created_at), snapshot.now))]


def _end(snapshot: Snapshot, replica: ReplicaView, exited: ExitRecord | None, at: datetime) -> End:
    if not replica.is_active or snapshot.deployment.is_ending:
        return End(replica.id, at, exited)
    if exited and exited.machine_restarted:
        return End(replica.id, at, exited, reason=StopReason.MACHINE_RESTARTED)
    is_faultless = exited is None or (exited.code in SWITCHED_OFF and not exited.out_of_memory)
    if snapshot.was_unobserved and is_faultless:
        return End(replica.id, at, exited, reason=StopReason.ENDED_UNOBSERVED)
    return End(replica.id, at, exited, crashed=True)


def _record(snapshot: Snapshot, replica: ReplicaView, seen: ObservedReplica) -> Record:
    """The states entered since the row was written, each at max(previous, min(the provider's stamp, now))."""
    steps: list[tuple[ReplicaState, datetime]] = []
    if replica.is_starting:
        previous = replica.state_since
        for state in ORDER[ORDER.index(replica.state) + 1 : ORDER.index(seen.state) + 1]:
            if state in seen.stamps or state is seen.state:
                previous = max(previous, min(seen.stamps.get(state, snapshot.now), snapshot.now))
                steps.append((state, previous))
    elif replica.is_unknown and not seen.exited:  # found again; a stop that was requested before still is
        steps.append((ReplicaState.STOPPING if replica.stop_requested_at else seen.state, snapshot.now))
    state = steps[-1][0] if steps else replica.state
    if state is not ReplicaState.READY:
        return Record(replica.id, seen, tuple(steps))
    if seen.healthy:
        return Record(replica.id, seen, tuple(steps), serving=True)
    since = None if snapshot.was_unobserved else replica.unhealthy_since
    return Record(replica.id, seen, tuple(steps), unhealthy_since=since or snapshot.now)


@dataclass(frozen=True)
class Orphans:
    """Names of replicas to stop, and of those whose provider's record can be deleted."""

    running: tuple[str, ...]
    ended: tuple[str, ...]


def find_orphans(listed: Iterable[ObservedReplica], states: Mapping[str, ReplicaState]) -> Orphans:
    """`states`: the states of the rows by replica name, read after the listing; a name without a row is absent.

    A row is committed before its replica is started, and the cluster was listed before the rows were read: a replica
    without a live row had none when it was listed, or has ended since.
    """
    orphans = [replica for replica in listed if states.get(replica.name) not in LIVE]
    return Orphans(
        running=tuple(replica.name for replica in orphans if replica.exited is None),
        ended=tuple(replica.name for replica in orphans if replica.exited is not None),
    )
