"""One deployment in virtual time: its rows, the cluster, and the counters that the gateways share, all in memory.

A pass of the reconciler is a generator that stops wherever others may act in between: `read`, `flip`, `commit`,
`publish`, `call`. What Redis' scripts do in one step (admit, settle, sleep) is one method call here.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from deployments.reconciler import actions as act
from deployments.reconciler.plan import plan
from deployments.reconciler.snapshot import Listing, PoolView, ReplicaView, Snapshot
from deployments.routing.load import Load
from deployments.states import ReplicaState
from tests.unit.deployments.views import NOW, POLICY, a_deployment, a_replica, an_exit, seen

R = ReplicaState
EPOCH = "one"


class Counters:
    """What the gateways count; a request is admitted to a replica, or waits. Slots are lists of request ids."""

    def __init__(self) -> None:
        self.slots: dict[str, set[int]] = {}
        self.open: set[str] = set()
        self.waiting: dict[int, float] = {}
        self.answered: set[int] = set()
        self.arrived_at: float | None = None
        self.asleep = self.wake = False

    def admit(self, request: int, second: float, most: int = 2) -> None:
        """scripts/admit.lua; who gets no slot waits and comes again."""
        self.arrived_at = second
        free = [one for one in sorted(self.open) if len(self.slots.get(one, ())) < most]
        if self.asleep or not free:
            self.wake = self.wake or self.asleep or not self.open
            self.waiting.setdefault(request, second)
            return
        self.waiting.pop(request, None)
        self.slots.setdefault(min(free, key=lambda one: len(self.slots.get(one, ()))), set()).add(request)

    def settle(self, request: int) -> None:
        for taken in self.slots.values():
            if request in taken:
                taken.remove(request)
                self.answered.add(request)

    def sleep(self, second: float, idle_seconds: float) -> bool:
        """scripts/sleep.lua"""
        is_recent = self.arrived_at is not None and second - self.arrived_at < idle_seconds
        if self.waiting or is_recent or any(self.slots.values()):
            return False
        self.asleep, self.wake = True, False
        return True

    @property
    def running(self) -> list[int]:
        return [request for taken in self.slots.values() for request in taken]


class World:
    """`gpus`: how many the pool has for this deployment; each replica takes one. `stopped`: (replica, reason)."""

    def __init__(self, *, gpus=8, start_seconds=3.0, **deployment) -> None:
        self.second, self.gpus, self.start_seconds = 0.0, gpus, start_seconds
        self.deployment = a_deployment(**deployment)
        self.replicas: dict[str, ReplicaView] = {}
        self.engines: dict[str, float] = {}
        self.killed: dict[str, datetime] = {}
        self.counters = Counters()
        self.stopped: list[tuple[str, str]] = []
        self.lost: list[str] = []
        self.log: list[act.Action] = []

    @property
    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.second)

    @property
    def free(self) -> int:
        return self.gpus - len(self.live)

    @property
    def live(self) -> list[ReplicaView]:
        return [one for one in self.replicas.values() if one.is_live]

    def of(self, spec_hash: str, *states: ReplicaState) -> list[ReplicaView]:
        return [one for one in self.live if one.spec_hash == spec_hash and (not states or one.state in states)]

    def run_one(self, id: str, **changes) -> None:
        """A replica that has been ready for a while."""
        values = {"spec_hash": self.deployment.spec_hash, "ready_at": NOW - timedelta(seconds=60)} | changes
        self.replicas[id] = a_replica(id, R.READY, **values)
        self.engines[id] = -60.0
        self.publish()

    def crash(self, id: str) -> None:
        self.killed[id] = self.now
        self.counters.slots.pop(id, None)

    # What others do

    def load(self) -> Load:
        counters = self.counters
        arrived = counters.arrived_at
        return Load(
            epoch=EPOCH,
            in_flight={one: len(taken) for one, taken in counters.slots.items()},
            serving=frozenset(counters.open),
            waiting=len(counters.waiting),
            oldest_waiting_seconds=self.second - min(counters.waiting.values(), default=self.second),
            last_arrival_at=None if arrived is None else NOW + timedelta(seconds=arrived),
            wake=counters.wake,
            asleep=counters.asleep,
        )

    def publish(self) -> None:
        """The rows as they are now: who may be chosen, and whether it sleeps."""
        serving = {one.id for one in self.live if one.state is R.READY and one.serving}
        self.counters.open = serving
        self.counters.asleep = self.deployment.asleep_since is not None

    # A pass

    def a_pass(self) -> Iterator[str]:
        snapshot = self.snapshot()
        planned = plan(snapshot)
        yield "read"
        slept = any(
            self.counters.sleep(self.second, one.idle_seconds) for one in planned if isinstance(one, act.FallAsleep)
        )
        yield "flipped"
        self.log.extend(planned)
        calls = [call for one in planned for call in self.commit(one, slept)]
        yield "committed"
        self.publish()
        yield "published"
        for call in calls:
            self.stop(call)
            yield "called"

    def whole_pass(self) -> None:
        for _ in self.a_pass():
            pass

    def snapshot(self) -> Snapshot:
        observed = {f"r-{id}": self._observed(id) for id in self.engines}
        return Snapshot(
            deployment=self.deployment,
            replicas=tuple(self.replicas.values()),
            observed=observed,
            listing=Listing(self.now),
            policy=POLICY,
            now=self.now,
            load=self.load(),
            pool=PoolView("GPU", self.gpus, self.free),
        )

    def _observed(self, id: str):
        exited = an_exit(1, self.killed[id]) if id in self.killed else None
        is_ready = self.second - self.engines[id] >= self.start_seconds
        return seen(id, R.READY if is_ready else R.ENGINE_INITIALIZING, exited=exited, heartbeat_at=self.now)

    def commit(self, action: act.Action, slept: bool) -> list[act.Stop]:
        match action:
            case act.Record():
                self._change(action.replica_id, serving=action.serving, last_seen_at=self.now)
                for state, at in action.steps:
                    ready = {"ready_at": at} if state is R.READY else {}
                    self._change(action.replica_id, state=state, state_since=at, **ready)
            case act.Drain():
                self._change(action.replica_id, state=R.DRAINING, drain_started_at=self.now, drain_epoch=EPOCH)
            case act.Resume():
                self._change(action.replica_id, state=R.READY, drain_started_at=None, serving=True)
            case act.Stop():
                self._change(action.replica_id, state=R.STOPPING, serving=False, stop_requested_at=self.now)
                return [action]
            case act.End():
                state = R.FAILED if action.crashed else R.STOPPED
                self._change(action.replica_id, state=state, released_at=action.at, serving=False)
                self.engines.pop(action.replica_id, None)
            case act.Start():
                for _ in range(min(action.count, self.free)):
                    self._start()
            case _:
                self._decide(action, slept)
        return []

    def _decide(self, action: act.Action, slept: bool) -> None:
        now = self.now
        match action:
            case act.Scale():
                self._set(desired_replicas=action.replicas)
            case act.Remember():
                self._set(memory=action.memory)
            case act.FallAsleep() if slept:
                self._set(asleep_since=now, woken_at=None, desired_replicas=0)
            case act.Wake():
                self._set(asleep_since=None, woken_at=now, desired_replicas=action.replicas)
            case act.Hold():
                self._set(rollout_hold=action.reason)
            case act.RollBack():
                self._set(spec_hash=action.revision_id, good_revision_id=None, tried_since=now, was_ready=True)
            case act.GiveUp():
                self._set(failed_at=now)

    def _start(self) -> None:
        id = f"n{len(self.replicas)}"
        spec = self.deployment.spec_hash
        self.replicas[id] = a_replica(
            id, R.REQUESTING_GPU, spec_hash=spec, created_at=self.now, state_since=self.now, last_seen_at=None
        )
        self.engines[id] = self.second

    def stop(self, action: act.Stop) -> None:
        """The cluster ends it; what it had in flight is lost."""
        id = action.replica_id
        if id not in self.killed and id in self.engines:
            self.stopped.append((id, action.reason))
            self.lost.extend(str(one) for one in self.counters.slots.pop(id, ()))
            self.killed[id] = self.now

    def _change(self, id: str, **changes) -> None:
        self.replicas[id] = replace(self.replicas[id], **changes)

    def _set(self, **changes) -> None:
        self.deployment = replace(self.deployment, **changes)
