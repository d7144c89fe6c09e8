"""A scripted cluster in memory: tests say what its replicas do and what it gets wrong. It speaks `drivers.base`."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
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


@dataclass
class ScriptedCluster:
    """Time stands still until `now` is set. `listing` freezes what `observe` shows (a stale list)."""

    now: datetime
    staleness_seconds: float = 0.0
    replicas: dict[str, ObservedReplica] = field(default_factory=dict)
    specs: dict[str, ReplicaSpec] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    start_error: DriverError | None = None
    start_happens_despite_error: bool = False
    stop_works: bool = True
    listing: Observation | None = None
    reachable: bool = True

    # What a driver does

    def observe(self) -> Observation:
        if not self.reachable:
            raise DriverError("no route to the cluster", retryable=True)
        return self.listing or Observation(tuple(self.replicas.values()), self.now)

    def find(self, name: str) -> ObservedReplica | None:
        return self.replicas.get(name)

    def watch(self) -> Iterator[ReplicaChanged]:
        yield from ()

    def start(self, spec: ReplicaSpec) -> None:
        self.calls.append(("start", spec.name))
        if self.start_error and not self.start_happens_despite_error:
            raise self.start_error
        self.specs[spec.name] = spec
        self.replicas.setdefault(
            spec.name,
            ObservedReplica(spec.name, spec.replica_id, spec.deployment_id, R.REQUESTING_GPU, {}, self.now),
        )
        if self.start_error:
            raise self.start_error

    def stop(self, name: str, grace_seconds: float) -> None:
        self.calls.append(("stop", name))
        if self.stop_works and name in self.replicas and self.replicas[name].exited is None:
            self.exit(name, 0)

    def forget(self, name: str) -> None:
        self.calls.append(("forget", name))
        self.replicas.pop(name, None)

    def logs(self, name: str, *, follow: bool, tail: int, since: datetime | None = None) -> Iterator[LogLine]:
        yield LogLine(self.now, f"log of {name}")
        yield LogLine(self.now, "last line\x00")

    def capacity(self) -> Capacity:
        return Capacity({}, simulated=True)

    def check(self) -> None:
        return None

    # What tests script

    def reach(self, state: ReplicaState, *names: str, healthy: bool | None = None) -> None:
        """All replicas, or those named, reach `state` now."""
        for name in names or tuple(self.replicas):
            seen = self.replicas[name]
            self.replicas[name] = replace(
                seen,
                state=state,
                stamps={**seen.stamps, state: self.now},
                healthy=state is R.READY if healthy is None else healthy,
                address="127.0.0.1:9000" if state is R.READY else "",
                node="node-1",
                gpu_indices=(0,),
                bytes_total=2 * 2**30,
            )

    def exit(self, name: str, code: int | None, at: datetime | None = None, **changes: object) -> None:
        record = ExitRecord(at or self.now, code, **({"step": "engine"} | changes))
        self.replicas[name] = replace(self.replicas[name], exited=record, healthy=False)

    def running(self) -> list[str]:
        return sorted(name for name, seen in self.replicas.items() if seen.exited is None)

    def pass_time(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now
