"""A cluster in memory. A `Script` determines what happens to a replica, and a given clock when.

Deterministic: no threads, no randomness, no clock of its own. Tests move the clock, script each replica and inject
`Faults`; phases end exactly when the script says.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from deployments.codes import ClusterProblem
from deployments.drivers.base import (
    Capacity,
    DriverError,
    ExitRecord,
    LogLine,
    Observation,
    ObservedReplica,
    ReplicaChanged,
    ReplicaSpec,
)
from deployments.states import ReplicaState

R = ReplicaState
Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Script:
    """The course of one replica, in seconds since the previous phase.

    `exit_seconds`: it exits by itself this long after it entered `exit_in` (None: never). `stop_seconds`: how long it
    takes to stop; if that exceeds the grace period, it is killed.
    """

    request_seconds: float = 0.0
    download_seconds: float = 2.0
    initialize_seconds: float = 1.0
    never_healthy: bool = False
    exit_seconds: float | None = None
    exit_in: ReplicaState = R.READY
    exit_code: int | None = 1
    out_of_memory: bool = False
    stop_seconds: float = 0.0
    log: tuple[str, ...] = ("simulated in memory",)


@dataclass
class _Replica:
    spec: ReplicaSpec
    script: Script
    started_at: datetime
    gpu_indices: tuple[int, ...]
    port: int
    installation_id: str
    ends_at: datetime | None = None
    code: int | None = None


@dataclass
class Faults:
    """Faults to inject.

    `refuse`: start raises and creates nothing. `lose_answers`: start raises although it created the replica. Both count
    down. `unreachable`: every call raises. `frozen_at`: listings show the cluster as it was then. `hidden`: names of
    replicas that listings omit, reported as incomplete if `admits`. Look-ups by name are always correct.
    """

    refuse: int = 0
    lose_answers: int = 0
    unreachable: bool = False
    frozen_at: datetime | None = None
    hidden: set[str] = field(default_factory=set)
    admits: bool = True


class MemoryDriver:
    """One cluster, as one installation sees it. `script` returns the script of each replica that is started."""

    def __init__(
        self,
        inventory: Mapping[str, int],
        clock: Clock,
        script: Callable[[ReplicaSpec], Script] = lambda spec: Script(),
        *,
        staleness_seconds: float = 0.0,
        installation_id: str = "",
    ) -> None:
        self.staleness_seconds = staleness_seconds
        self.faults = Faults()
        self._inventory = dict(inventory)
        self._clock = clock
        self._script = script
        self._replicas: dict[str, _Replica] = {}
        self._ports = itertools.count(20_001)
        self._installation_id = installation_id

    def as_installation(self, installation_id: str) -> MemoryDriver:
        """The same cluster for another console."""
        other = copy.copy(self)
        other._installation_id = installation_id
        return other

    def observe(self) -> Observation:
        self._check_reachable()
        moment = self.faults.frozen_at or self._clock()
        own = [replica for replica in self._replicas.values() if replica.installation_id == self._installation_id]
        seen = [self._observe(replica, moment) for replica in own if replica.started_at <= moment]
        listed = tuple(replica for replica in seen if replica.name not in self.faults.hidden)
        complete = len(listed) == len(seen) or not self.faults.admits
        return Observation(listed, moment, complete)

    def find(self, name: str) -> ObservedReplica | None:
        self._check_reachable()
        replica = self._own(name)
        return self._observe(replica, self._clock()) if replica else None

    def watch(self) -> Iterator[ReplicaChanged]:
        """Yields what changed since the previous `next`; ends when nothing has."""
        before: dict[str, tuple[ReplicaState, bool, bool]] = {}
        while True:
            after = {
                replica.name: (replica.state, replica.healthy, replica.exited is not None)
                for replica in self.observe().replicas
            }
            changed = {self._replicas[name].spec.deployment_id for name in after if before.get(name) != after[name]}
            if not changed:
                return
            yield from map(ReplicaChanged, sorted(changed))
            before = after

    def start(self, spec: ReplicaSpec) -> None:
        self._check_reachable()
        if self.faults.refuse > 0:
            self.faults.refuse -= 1
            raise DriverError("The cluster refused to start a replica.", retryable=True)
        if spec.name not in self._replicas:
            self._create(spec)
        if self.faults.lose_answers > 0:
            self.faults.lose_answers -= 1
            raise DriverError("The cluster's answer was lost.", retryable=True)

    def stop(self, name: str, grace_seconds: float) -> None:
        self._check_reachable()
        replica = self._own(name)
        if replica is None or replica.ends_at is not None or self._observe(replica, self._clock()).exited:
            return
        killed = replica.script.stop_seconds > grace_seconds
        replica.ends_at = self._clock() + timedelta(seconds=min(replica.script.stop_seconds, grace_seconds))
        replica.code = -9 if killed else 0

    def forget(self, name: str) -> None:
        self._check_reachable()
        replica = self._own(name)
        if replica and self._observe(replica, self._clock()).exited is None:
            raise DriverError(f"The replica {name} still runs; stop it first.", retryable=True)
        if replica:
            del self._replicas[name]

    def logs(self, name: str, *, follow: bool, tail: int, since: datetime | None = None) -> Iterator[LogLine]:
        self._check_reachable()
        replica = self._own(name)
        lines = replica.script.log[-tail:] if replica else ()
        return iter([LogLine(replica.started_at, text) for text in lines] if replica else [])

    def capacity(self) -> Capacity:
        return Capacity(dict(self._inventory), simulated=True)

    def check(self) -> None:
        self._check_reachable()

    def kill(self, name: str, code: int | None = -9) -> None:
        """The engine exits now. `code` None: its supervisor too, so that the exit is not observed."""
        replica = self._replicas[name]
        replica.ends_at, replica.code = self._clock(), code

    def vanish(self, name: str) -> None:
        """The replica and the cluster's record of it disappear."""
        del self._replicas[name]

    def _own(self, name: str) -> _Replica | None:
        replica = self._replicas.get(name)
        return replica if replica and replica.installation_id == self._installation_id else None

    def _check_reachable(self) -> None:
        if self.faults.unreachable:
            raise DriverError("The cluster cannot be reached.", retryable=True, problem=ClusterProblem.NO_ANSWER)

    def _create(self, spec: ReplicaSpec) -> None:
        chosen = self._free_gpus(spec)
        self._replicas[spec.name] = _Replica(
            spec, self._script(spec), self._clock(), chosen, next(self._ports), self._installation_id
        )

    def _free_gpus(self, spec: ReplicaSpec) -> tuple[int, ...]:
        first = sum(count for gpu_type, count in self._inventory.items() if gpu_type < spec.gpu_type)
        count = self._inventory.get(spec.gpu_type, 0)
        if count < spec.gpu_count:
            raise DriverError(f"The cluster has no {spec.gpu_count} × {spec.gpu_type}.", retryable=False)
        now = self._clock()
        live = [replica for replica in self._replicas.values() if self._observe(replica, now).exited is None]
        taken = spec.held_gpu_indices | {index for replica in live for index in replica.gpu_indices}
        free = [index for index in range(first, first + count) if index not in taken]
        if len(free) < spec.gpu_count:
            raise DriverError(f"No {spec.gpu_count} × {spec.gpu_type} are free now.", retryable=True)
        return tuple(free[: spec.gpu_count])

    def _observe(self, replica: _Replica, moment: datetime) -> ObservedReplica:
        plan = _plan_phases(replica)
        ends = _find_end(replica, plan)
        until = min(moment, ends.at) if ends else moment
        stamps = {state: at for state, at in plan.items() if at <= until}
        state = list(stamps)[-1]
        exited = ends if ends and ends.at <= moment else None
        ratio = min(1.0, max(0.0, _download_progress(plan, until))) if R.DOWNLOADING_MODEL in stamps else None
        return ObservedReplica(
            name=replica.spec.name,
            replica_id=replica.spec.replica_id,
            deployment_id=replica.spec.deployment_id,
            state=state,
            stamps=stamps,
            heartbeat_at=until,
            healthy=state is R.READY and exited is None,
            node="memory",
            address=f"127.0.0.1:{replica.port}",
            gpu_indices=replica.gpu_indices,
            bytes_done=None if ratio is None else round(ratio * 1_000_000),
            bytes_total=None if ratio is None else 1_000_000,
            exited=exited,
            log_tail="\n".join(replica.script.log) if exited else "",
        )


def _plan_phases(replica: _Replica) -> dict[ReplicaState, datetime]:
    """When each phase begins unless the replica ends before; without a download step that phase is left out."""
    script, at = replica.script, replica.started_at
    stamps = {R.REQUESTING_GPU: at}
    at += timedelta(seconds=script.request_seconds)
    if replica.spec.launch.download is not None:
        stamps[R.DOWNLOADING_MODEL] = at
        at += timedelta(seconds=script.download_seconds)
    stamps[R.ENGINE_INITIALIZING] = at
    if not script.never_healthy:
        stamps[R.READY] = at + timedelta(seconds=script.initialize_seconds)
    return stamps


def _find_end(replica: _Replica, plan: Mapping[ReplicaState, datetime]) -> ExitRecord | None:
    """The exit by its script or by a stop, whichever comes first."""
    script = replica.script
    stopped = ExitRecord(replica.ends_at, replica.code, _step_at(plan, replica.ends_at)) if replica.ends_at else None
    if script.exit_seconds is None or script.exit_in not in plan:
        return stopped
    at = plan[script.exit_in] + timedelta(seconds=script.exit_seconds)
    own = ExitRecord(at, script.exit_code, _step_at(plan, at), script.out_of_memory)
    return min((record for record in (stopped, own) if record), key=lambda record: record.at)


def _step_at(plan: Mapping[ReplicaState, datetime], at: datetime) -> str:
    return "engine" if at >= plan[R.ENGINE_INITIALIZING] else "download"


def _download_progress(plan: Mapping[ReplicaState, datetime], at: datetime) -> float:
    """The downloaded share; below 0 before the download, above 1 after it."""
    whole = plan[R.ENGINE_INITIALIZING] - plan[R.DOWNLOADING_MODEL]
    return (at - plan[R.DOWNLOADING_MODEL]) / whole if whole else 1.0
