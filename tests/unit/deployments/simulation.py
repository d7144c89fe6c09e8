"""A simulation of one deployment in virtual time: its rows, the cluster, and the counters of the gateways, in memory.

A pass is a generator that yields wherever others may act in between. What a Redis script does atomically (admit,
settle, sleep) is one method call here.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from deployments.reconciler import plan_actions as act
from deployments.reconciler.plan import plan
from deployments.reconciler.snapshot import Listing, PoolView, ReplicaView, Snapshot
from deployments.routing.load import Load
from deployments.states import ReplicaState
from tests.unit.deployments.snapshots import NOW, POLICY, a_deployment, a_replica, an_exit, seen

R = ReplicaState
EPOCH = "one"


class Counters:
    """What the gateways count. Slots: ids of the requests in flight, by replica id."""

    def __init__(self) -> None:
        self.slots: dict[str, set[int]] = {}
        self.open: set[str] = set()
        self.waiting: dict[int, float] = {}
        self.answered: set[int] = set()
        self.arrived_at: float | None = None
        self.asleep = self.wake = False

    def admit(self, request: int, second: float, most: int = 2) -> None:
        """As admit.lua; a request without a slot waits and is admitted again."""
        self.arrived_at = second
        free = [replica for replica in sorted(self.open) if len(self.slots.get(replica, ())) < most]
        if self.asleep or not free:
            self.wake = self.wake or self.asleep or not self.open
            self.waiting.setdefault(request, second)
            return
        self.waiting.pop(request, None)
        self.slots.setdefault(min(free, key=lambda replica_id: len(self.slots.get(replica_id, ()))), set()).add(request)

    def settle(self, request: int) -> None:
        for taken in self.slots.values():
            if request in taken:
                taken.remove(request)
                self.answered.add(request)

    def sleep(self, second: float, idle_seconds: float) -> bool:
        """As sleep.lua."""
        is_recent = self.arrived_at is not None and second - self.arrived_at < idle_seconds
        if self.waiting or is_recent or any(self.slots.values()):
            return False
        self.asleep, self.wake = True, False
        return True

    @property
    def running(self) -> list[int]:
        return [request for taken in self.slots.values() for request in taken]


class World:
    """`gpus`: the size of the pool; each replica holds one GPU. `stopped`: (replica id, reason)."""

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
        return [replica for replica in self.replicas.values() if replica.is_live]

    def live_with(self, spec_hash: str, *states: ReplicaState) -> list[ReplicaView]:
        return [
            replica
            for replica in self.live
            if replica.spec_hash == spec_hash and (not states or replica.state in states)
        ]

    def add_ready_replica(self, id: str, **changes) -> None:
        """Add a replica that has been ready for a minute."""
        values = {"spec_hash": self.deployment.spec_hash, "ready_at": NOW - timedelta(seconds=60)} | changes
        self.replicas[id] = a_replica(id, R.READY, **values)
        self.engines[id] = -60.0
        self.publish()

    def crash(self, id: str) -> None:
        self.killed[id] = self.now
        self.counters.slots.pop(id, None)

    # Gateways and publications

    def load(self) -> Load:
        counters = self.counters
        arrived = counters.arrived_at
        return Load(
            epoch=EPOCH,
            in_flight={replica_id: len(taken) for replica_id, taken in counters.slots.items()},
            serving=frozenset(counters.open),
            waiting=len(counters.waiting),
            oldest_waiting_seconds=self.second - min(counters.waiting.values(), default=self.second),
            last_arrival_at=None if arrived is None else NOW + timedelta(seconds=arrived),
            wake=counters.wake,
            asleep=counters.asleep,
        )

    def publish(self) -> None:
        """Publish the rows: which replicas can be chosen, and whether the deployment sleeps."""
        serving = {replica.id for replica in self.live if replica.state is R.READY and replica.serving}
        self.counters.open = serving
        self.counters.asleep = self.deployment.asleep_since is not None

    # A pass

    def a_pass(self) -> Iterator[str]:
        snapshot = self.snapshot()
        planned = plan(snapshot)
        yield "read"
        slept = any(
            self.counters.sleep(self.second, action.idle_seconds)
            for action in planned
            if isinstance(action, act.FallAsleep)
        )
        yield "flipped"
        self.log.extend(planned)
        calls = [call for action in planned for call in self.commit(action, slept)]
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
                self._set(memory=action.memory, load_known_at=action.load_known_at)
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
        """The cluster stops it; its requests in flight are lost."""
        id = action.replica_id
        if id not in self.killed and id in self.engines:
            self.stopped.append((id, action.reason))
            self.lost.extend(str(replica) for replica in self.counters.slots.pop(id, ()))
            self.killed[id] = self.now

    def _change(self, id: str, **changes) -> None:
        self.replicas[id] = replace(self.replicas[id], **changes)

    def _set(self, **changes) -> None:
        self.deployment = replace(self.deployment, **changes)
