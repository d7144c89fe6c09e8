"""A cluster in memory: what happens to a replica is a `Script`, when it happens is told by the clock it is given.

Deterministic: no thread, no chance, no clock of its own. Simulation tests move the clock, script each replica and
switch `faults` on; phases end exactly when the script says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

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
    """One replica's life, in seconds since the phase before.

    `exit_seconds`: it ends by itself so long after READY (None: never), or after `exit_in` was entered when that is
    another phase. `stop_seconds`: how long it takes to end when asked to; more than the grace means that it is killed.
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
    ends_at: datetime | None = None
    code: int | None = None


@dataclass
class Faults:
    """What the cluster does wrong. Names are those of replicas.

    `refuse`: start raises, nothing is created. `lose_answers`: start raises though it was created. Both count down.
    `unreachable`: every call raises. `frozen_at`: listings show the cluster as it was then. `hidden`: listings leave
    these out, and say that they are incomplete if `admits` (look-ups by name always tell the truth).
    """

    refuse: int = 0
    lose_answers: int = 0
    unreachable: bool = False
    frozen_at: datetime | None = None
    hidden: set[str] = field(default_factory=set)
    admits: bool = True


class MemoryDriver:
    """One cluster. `script` chooses a life for each replica that is started."""

    def __init__(
        self,
        inventory: Mapping[str, int],
        clock: Clock,
        script: Callable[[ReplicaSpec], Script] = lambda spec: Script(),
        *,
        staleness_seconds: float = 0.0,
    ) -> None:
        self.staleness_seconds = staleness_seconds
        self.faults = Faults()
        self._inventory = dict(inventory)
        self._clock = clock
        self._script = script
        self._replicas: dict[str, _Replica] = {}
        self._ports = 0

    def observe(self) -> Observation:
        self._reach()
        moment = self.faults.frozen_at or self._clock()
        seen = [self._seen(one, moment) for one in self._replicas.values() if one.started_at <= moment]
        shown = tuple(one for one in seen if one.name not in self.faults.hidden)
        complete = len(shown) == len(seen) or not self.faults.admits
        return Observation(shown, moment, complete)

    def find(self, name: str) -> ObservedReplica | None:
        self._reach()
        one = self._replicas.get(name)
        return self._seen(one, self._clock()) if one else None

    def watch(self) -> Iterator[ReplicaChanged]:
        """Yields what changed between two `next`; without changes it yields nothing and ends."""
        before: dict[str, tuple[ReplicaState, bool, bool]] = {}
        while True:
            after = {one.name: (one.state, one.healthy, one.exited is not None) for one in self.observe().replicas}
            changed = {self._replicas[name].spec.deployment_id for name in after if before.get(name) != after[name]}
            if not changed:
                return
            yield from map(ReplicaChanged, sorted(changed))
            before = after

    def start(self, spec: ReplicaSpec) -> None:
        self._reach()
        if self.faults.refuse > 0:
            self.faults.refuse -= 1
            raise DriverError("The cluster refused to start a replica.", retryable=True)
        if spec.name not in self._replicas:
            self._create(spec)
        if self.faults.lose_answers > 0:
            self.faults.lose_answers -= 1
            raise DriverError("The cluster's answer was lost.", retryable=True)

    def stop(self, name: str, grace_seconds: float) -> None:
        self._reach()
        one = self._replicas.get(name)
        if one is None or one.ends_at is not None or self._seen(one, self._clock()).exited:
            return
        killed = one.script.stop_seconds > grace_seconds
        one.ends_at = self._clock() + timedelta(seconds=min(one.script.stop_seconds, grace_seconds))
        one.code = -9 if killed else 0

    def forget(self, name: str) -> None:
        self._reach()
        one = self._replicas.get(name)
        if one and self._seen(one, self._clock()).exited is None:
            raise DriverError(f"The replica {name} still runs; stop it first.", retryable=True)
        self._replicas.pop(name, None)

    def logs(self, name: str, *, follow: bool, tail: int, since: datetime | None = None) -> Iterator[LogLine]:
        self._reach()
        one = self._replicas.get(name)
        lines = one.script.log[-tail:] if one else ()
        return iter([LogLine(one.started_at, text) for text in lines] if one else [])

    def capacity(self) -> Capacity:
        return Capacity(dict(self._inventory), simulated=True)

    def check(self) -> None:
        self._reach()

    def kill(self, name: str, code: int | None = -9) -> None:
        """The engine ends now; None: with its supervisor, so that nobody sees how."""
        one = self._replicas[name]
        one.ends_at, one.code = self._clock(), code

    def vanish(self, name: str) -> None:
        """It and the cluster's record of it are gone."""
        del self._replicas[name]

    def _reach(self) -> None:
        if self.faults.unreachable:
            raise DriverError("The cluster cannot be reached.", retryable=True)

    def _create(self, spec: ReplicaSpec) -> None:
        chosen = self._free_gpus(spec)
        self._ports += 1
        port = 20_000 + self._ports
        self._replicas[spec.name] = _Replica(spec, self._script(spec), self._clock(), chosen, port)

    def _free_gpus(self, spec: ReplicaSpec) -> tuple[int, ...]:
        first = sum(count for gpu_type, count in self._inventory.items() if gpu_type < spec.gpu_type)
        count = self._inventory.get(spec.gpu_type, 0)
        if count < spec.gpu_count:
            raise DriverError(f"The cluster has no {spec.gpu_count} × {spec.gpu_type}.", retryable=False)
        now = self._clock()
        live = [one for one in self._replicas.values() if self._seen(one, now).exited is None]
        taken = {index for one in live for index in one.gpu_indices}
        free = [index for index in range(first, first + count) if index not in taken]
        if len(free) < spec.gpu_count:
            raise DriverError(f"No {spec.gpu_count} × {spec.gpu_type} are free now.", retryable=True)
        return tuple(free[: spec.gpu_count])

    def _seen(self, one: _Replica, moment: datetime) -> ObservedReplica:
        plan = _stamps(one)
        ends = _end(one, plan)
        until = min(moment, ends.at) if ends else moment
        stamps = {state: at for state, at in plan.items() if at <= until}
        state = list(stamps)[-1]
        exited = ends if ends and ends.at <= moment else None
        ratio = min(1.0, max(0.0, _share(plan, until))) if R.DOWNLOADING_MODEL in stamps else None
        return ObservedReplica(
            name=one.spec.name,
            replica_id=one.spec.replica_id,
            deployment_id=one.spec.deployment_id,
            state=state,
            stamps=stamps,
            heartbeat_at=until,
            healthy=state is R.READY and exited is None,
            node="memory",
            address=f"127.0.0.1:{one.port}",
            gpu_indices=one.gpu_indices,
            bytes_done=None if ratio is None else round(ratio * 1_000_000),
            bytes_total=None if ratio is None else 1_000_000,
            exited=exited,
            log_tail="\n".join(one.script.log) if exited else "",
        )


def _stamps(one: _Replica) -> dict[ReplicaState, datetime]:
    """When each phase begins, if nothing comes in between; a step that the launch lacks is left out."""
    script, at = one.script, one.started_at
    stamps = {R.REQUESTING_GPU: at}
    at += timedelta(seconds=script.request_seconds)
    if one.spec.launch.download is not None:
        stamps[R.DOWNLOADING_MODEL] = at
        at += timedelta(seconds=script.download_seconds)
    stamps[R.ENGINE_INITIALIZING] = at
    if not script.never_healthy:
        stamps[R.READY] = at + timedelta(seconds=script.initialize_seconds)
    return stamps


def _end(one: _Replica, plan: Mapping[ReplicaState, datetime]) -> ExitRecord | None:
    """Its own end by the script, or the one that was asked for, whichever is first."""
    script = one.script
    asked = ExitRecord(one.ends_at, one.code, _step(plan, one.ends_at)) if one.ends_at else None
    if script.exit_seconds is None or script.exit_in not in plan:
        return asked
    at = plan[script.exit_in] + timedelta(seconds=script.exit_seconds)
    own = ExitRecord(at, script.exit_code, _step(plan, at), script.out_of_memory)
    return min((one for one in (asked, own) if one), key=lambda record: record.at)


def _step(plan: Mapping[ReplicaState, datetime], at: datetime) -> str:
    return "engine" if at >= plan[R.ENGINE_INITIALIZING] else "download"


def _share(plan: Mapping[ReplicaState, datetime], at: datetime) -> float:
    """How much of the download is done."""
    whole = plan[R.ENGINE_INITIALIZING] - plan[R.DOWNLOADING_MODEL]
    return (at - plan[R.DOWNLOADING_MODEL]) / whole if whole else 1.0
