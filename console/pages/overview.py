"""What a deployment's page says now, read once and put into words for the templates."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from django.conf import settings

from billing.queries import Totals, start_of_month, totals_by_deployment
from console.pages import waterfall
from console.pages.figures import counted, moment
from console.pages.load import in_flight
from console.pages.replica_rows import ReplicaRow
from deployments import queries
from deployments.engines.registry import ENGINES
from deployments.events import Kind
from deployments.models import CatalogModel, Deployment, DeploymentEvent, Replica
from deployments.specs import RevisionSpec
from deployments.states import ENDED, LIVE, STARTING, DeploymentStatus, ReplicaState

R = ReplicaState
MOST_STARTS = 4
MOST_ENDED = 20
MOST_EVENTS = 50
MOST_CELLS = 12
UNSPOKEN = timedelta(seconds=5)
CELLS = {R.READY: "ready", R.DRAINING: "draining", R.STOPPING: "draining"}
EVENT_LOOKS: dict[str, tuple[str, str]] = {
    Kind.CREATED: ("plus", ""),
    Kind.PENDING: ("status-pending", "waiting"),
    Kind.REPLICA_REQUESTED: ("gpu", "moving"),
    Kind.REPLICA_REPLACED: ("refresh", "moving"),
    Kind.REPLICA_DOWNLOADING: ("down", "moving"),
    Kind.REPLICA_INITIALIZING: ("status-deploying", "moving"),
    Kind.REPLICA_READY: ("check", "good"),
    Kind.REPLICA_UNHEALTHY: ("warning", "waiting"),
    Kind.REPLICA_HEALTHY: ("check", "good"),
    Kind.REPLICA_DRAINING: ("status-terminating", "gone"),
    Kind.REPLICA_STOPPED: ("status-terminated", "gone"),
    Kind.REPLICA_FAILED: ("warning", "bad"),
    Kind.FAILED: ("status-failed", "bad"),
    Kind.TERMINATE_REQUESTED: ("stop", "gone"),
    Kind.TERMINATED: ("status-terminated", "gone"),
    Kind.DELETED: ("remove", "gone"),
}


@dataclass(frozen=True)
class Start:
    """A start and its waterfall; `is_over` for the latest one that became ready."""

    row: ReplicaRow
    chart: waterfall.Waterfall
    is_over: bool


@dataclass(frozen=True)
class EventLine:
    """One entry of the timeline."""

    event: DeploymentEvent
    icon: str
    tone: str
    when: str

    @property
    def evidence(self) -> str:
        return str((self.event.data.get("cause") or {}).get("evidence", ""))


class Overview:
    """Everything that changes on the page of `deployment`, as of `now`; each part is read when it is first used."""

    def __init__(self, deployment: Deployment, now: datetime) -> None:
        self.deployment, self.now = deployment, now

    @cached_property
    def spec(self) -> RevisionSpec:
        assert self.deployment.revision, "every deployment has its first revision from the start"
        return RevisionSpec.from_json(self.deployment.revision.spec)

    @cached_property
    def model(self) -> CatalogModel | None:
        return CatalogModel.objects.filter(pk=self.spec.model.id).first()

    @cached_property
    def simulated(self) -> bool:
        return self.deployment.endpoint.cluster.simulated or self.spec.engine.simulator is not None

    @property
    def gpus(self) -> str:
        return f"{self.spec.gpu_count} × {self.deployment.gpu_type.title}"

    @cached_property
    def requests(self) -> Counter[str] | None:
        return in_flight(self.deployment.pk)

    @cached_property
    def rows(self) -> list[ReplicaRow]:
        return [
            ReplicaRow(replica, None if self.requests is None else self.requests[str(replica.pk)], self.now)
            for replica in queries.replica_rows(self.deployment)
        ]

    @property
    def live(self) -> list[ReplicaRow]:
        return [row for row in self.rows if row.replica.state in LIVE]

    @property
    def ended(self) -> list[ReplicaRow]:
        return [row for row in self.rows if row.replica.state in ENDED][:MOST_ENDED]

    @property
    def ended_count(self) -> int:
        return len(self.rows) - len(self.live)

    @property
    def ready(self) -> int:
        return sum(row.replica.state == R.READY for row in self.rows)

    @property
    def starting(self) -> list[ReplicaRow]:
        return [row for row in self.live if row.replica.state in STARTING]

    @property
    def wanted(self) -> int:
        return 0 if self.deployment.terminate_requested_at else self.deployment.desired_replicas

    @property
    def cells(self) -> list[str]:
        """The class of each cell, ready ones first; empty when there are too many for cells."""
        order = {"ready": 0, "starting": 1, "draining": 2}
        kinds = [CELLS.get(R(row.replica.state), "starting") for row in self.live]
        kinds = sorted(kinds, key=lambda kind: order[kind])
        kinds += ["failed" if self.deployment.failed_at else ""] * (self.wanted - len(kinds))
        return kinds if len(kinds) <= MOST_CELLS else []

    @property
    def in_flight(self) -> int | None:
        if self.requests is None:
            return None
        return sum(row.requests or 0 for row in self.live)

    @property
    def room(self) -> int:
        return sum(row.room for row in self.live if row.replica.state == R.READY and row.replica.serving)

    @property
    def gpus_held(self) -> int:
        return sum(row.replica.gpu_count for row in self.live)

    @cached_property
    def usage(self) -> Totals:
        since = start_of_month(self.now)
        return totals_by_deployment([self.deployment.pk], since, self.now).get(self.deployment.pk, Totals())

    @property
    def month(self) -> str:
        return f"since 1 {self.now:%b}, UTC"

    @cached_property
    def usual(self) -> dict[str, queries.PhaseTimes]:
        """What is drawn is compared with other starts, never with itself."""
        return queries.typical_phases(self.deployment, [row.replica.pk for row in self._drawn])

    @cached_property
    def starts(self) -> list[Start]:
        return [self._start(row) for row in self._drawn]

    @cached_property
    def _drawn(self) -> list[ReplicaRow]:
        """The starts to draw: those going on, else the latest that became ready while the deployment lives."""
        going = [row for row in reversed(self.starting[-MOST_STARTS:]) if _stamps(row.replica)]
        return going or [row for row in self.live if row.replica.state == R.READY and _stamps(row.replica)][:1]

    @property
    def more_starting(self) -> int:
        return max(0, len(self.starting) - MOST_STARTS)

    def _start(self, row: ReplicaRow) -> Start:
        over = row.replica.state not in STARTING
        return Start(row, waterfall.draw(_stamps(row.replica), self.usual, self.now), over)

    @cached_property
    def events(self) -> list[EventLine]:
        rows = self.deployment.events.all()[:MOST_EVENTS]
        return [EventLine(row, *EVENT_LOOKS.get(row.kind, ("info", "")), moment(row.at, self.now)) for row in rows]

    @cached_property
    def place(self) -> int | None:
        return queries.place_in_queue(self.deployment)

    @property
    def waits(self) -> bool:
        """Whether it waits long enough to speak of: what finds its GPUs at once shows no notice that goes again."""
        long = self.now - self.deployment.status_since > UNSPOKEN
        return self.deployment.status == DeploymentStatus.PENDING and (bool(self.deployment.pending_reason) or long)

    @property
    def place_in_words(self) -> str:
        return "next in turn" if self.place == 1 else f"number {self.place} in turn"

    @property
    def base_url(self) -> str:
        return f"{self.deployment.endpoint.base_url.rstrip('/')}/v1"

    @property
    def call_name(self) -> str:
        """What callers with a key of the owner's organization give as `model`."""
        return self.deployment.name

    @property
    def engine_title(self) -> str:
        return ENGINES[self.spec.engine.name].title

    @property
    def model_title(self) -> str:
        return self.model.title if self.model else self.spec.model.repository

    @property
    def replicas_in_words(self) -> str:
        if self.starting:
            return f"{len(self.starting)} starting"
        ending = len(self.live) - self.ready
        return f"{ending} ending" if ending else "fixed number"

    @property
    def no_replicas(self) -> str:
        if self.wanted == 0 or self.deployment.failed_at:
            return "No replica is left; no GPU is held."
        return "No replica yet: the first one starts as soon as its GPUs are free."

    @property
    def failed_at(self) -> str:
        return moment(self.deployment.failed_at or self.now, self.now)

    @property
    def terminated_at(self) -> str:
        return moment(self.deployment.terminated_at or self.now, self.now)

    @property
    def is_moving(self) -> bool:
        """Whether figures tick: something starts or ends."""
        return any(row.replica.state != R.READY for row in self.live) or self.deployment.status in (
            DeploymentStatus.TERMINATING,
            DeploymentStatus.PENDING,
        )

    @property
    def may_be_terminated(self) -> bool:
        return self.deployment.terminate_requested_at is None

    @property
    def may_be_deleted(self) -> bool:
        return self.deployment.status in (DeploymentStatus.TERMINATED, DeploymentStatus.FAILED)

    @property
    def effects(self) -> str:
        """What terminating stops and releases, in words."""
        if not self.live:
            return "No replica runs now and no GPU is held."
        stops = "stops" if len(self.live) == 1 else "stop"
        gpus = counted(self.gpus_held, "GPU")
        released = "is released" if self.gpus_held == 1 else "are released"
        finish = f" Requests in flight get up to {settings.DRAIN_SECONDS} s to finish." if self.ready else ""
        return f"{counted(len(self.live), 'replica')} {stops}, {gpus} {released}.{finish}"


def _stamps(replica: Replica) -> list[waterfall.Stamp]:
    """The starting phases of a replica, oldest first; phases are prefetched in that order."""
    return [
        waterfall.Stamp(phase.name, phase.started_at, phase.ended_at)
        for phase in replica.phases.all()
        if phase.name in STARTING
    ]
