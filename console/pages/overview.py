"""What a deployment's page says now, read once and put into words for the templates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from django.conf import settings
from django.db.models import QuerySet

from billing.queries import Totals, start_of_month, totals_by_deployment
from console.components.formats import format_count, format_elapsed, format_moment
from console.pages import rows, waterfall
from console.pages.actions import Actions, actions
from console.pages.replica_rows import ReplicaRow
from console.pages.rollout import Rollout
from console.pages.timeline import EventLine, lines
from deployments import load, queries
from deployments.demand import Load
from deployments.engines.registry import ENGINES
from deployments.events import Kind
from deployments.models import CatalogModel, Deployment, DeploymentEvent, Replica, Revision
from deployments.reconciler import backoff, observe
from deployments.specs import RevisionSpec
from deployments.states import ENDED, LIVE, STARTING, STARTING_ORDER, DeploymentStatus, ReplicaState

R = ReplicaState
MOST_STARTS = 4
MOST_ENDED, MOST_ENDED_READ = 20, 100
MOST_EVENTS = 30
UNSPOKEN = timedelta(seconds=5)
JUST_BEFORE = timedelta(seconds=10)
MOVING = (DeploymentStatus.TERMINATING, DeploymentStatus.PENDING, DeploymentStatus.ROLLING)


@dataclass(frozen=True)
class Start:
    """A start and its waterfall; `is_over` for the latest one that became ready."""

    row: ReplicaRow
    chart: waterfall.Waterfall
    is_over: bool


class Overview:
    """Everything that changes on the page of `deployment`, as of `now`; each part is read when it is first used."""

    def __init__(self, deployment: Deployment, now: datetime) -> None:
        self.deployment, self.now = deployment, now

    @property
    def revision(self) -> Revision:
        """The one that is wanted."""
        assert self.deployment.revision, "every deployment has its first revision from the start"
        return self.deployment.revision

    @cached_property
    def spec(self) -> RevisionSpec:
        return RevisionSpec.from_json(self.revision.spec)

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
    def load(self) -> Load | None:
        """What the gateways count now; None is UNKNOWN."""
        return load.read([self.deployment.pk])[self.deployment.pk]

    @cached_property
    def live(self) -> list[ReplicaRow]:
        """Newest first, as the ended ones."""
        return [self._row(one) for one in self._replicas.filter(state__in=LIVE)]

    @cached_property
    def _lately_ended(self) -> list[ReplicaRow]:
        return [self._row(one) for one in self._replicas.filter(state__in=ENDED)[:MOST_ENDED_READ]]

    @property
    def _replicas(self) -> QuerySet[Replica]:
        return queries.replica_rows(self.deployment).defer("log_tail")

    def _row(self, replica: Replica) -> ReplicaRow:
        requests = self.load.in_flight.get(str(replica.pk), 0) if self.load else None
        return ReplicaRow(replica, requests, self.now)

    @property
    def rows(self) -> list[ReplicaRow]:
        """Live ones, then those that ended lately."""
        return [*self.live, *self._lately_ended]

    @property
    def ended(self) -> list[ReplicaRow]:
        return self._lately_ended[:MOST_ENDED]

    @cached_property
    def ended_count(self) -> int:
        return self.deployment.replicas.filter(state__in=ENDED).count()

    @property
    def ready(self) -> int:
        return sum(row.replica.state == R.READY for row in self.live)

    @property
    def starting(self) -> list[ReplicaRow]:
        return [row for row in self.live if row.replica.state in STARTING]

    @property
    def furthest(self) -> ReplicaRow:
        """Of those that start, the one that is ready first."""
        return max(self.starting, key=lambda row: STARTING_ORDER.index(R(row.replica.state)))

    @property
    def wanted(self) -> int:
        return 0 if self.deployment.terminate_requested_at else self.deployment.desired_replicas

    @property
    def cells(self) -> tuple[str, ...]:
        """The class of each cell, ready ones first, up to the most there may be; empty when there are too many."""
        failed, most = self.deployment.failed_at is not None, self.deployment.max_replicas
        return rows.cells([row.replica for row in self.live], self.wanted, most, failed=failed)

    @property
    def allowed(self) -> str:
        """range 1–3, or fixed number."""
        allowed = rows.replica_range(self.deployment)
        return f"range {allowed}" if allowed else "fixed number"

    @property
    def in_flight(self) -> int | None:
        return sum(self.load.in_flight.values()) if self.load else None

    @property
    def waiting(self) -> int | None:
        """Requests that the gateways hold until a replica has room."""
        return self.load.waiting if self.load else None

    @property
    def oldest_waiting_seconds(self) -> float:
        return self.load.oldest_waiting_seconds if self.load else 0.0

    @property
    def oldest_waiting(self) -> str:
        return format_elapsed(self.oldest_waiting_seconds)

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
        return lines(self.deployment.events.all()[:MOST_EVENTS], self.now)

    @cached_property
    def typical_start(self) -> str:
        """How long a start takes, as it was measured here; a part of a sentence."""
        times = queries.typical_phases(self.deployment).values()
        if not times:
            return "no earlier start here says how long that takes"
        p50, p95 = sum(one.p50_seconds for one in times), sum(one.p95_seconds for one in times)
        count = max(one.count for one in times)
        return f"a start typically takes {format_elapsed(p50)} here, p95 {format_elapsed(p95)} ({count} measured)"

    @cached_property
    def rollout(self) -> Rollout:
        hold, policy = self.deployment.rollout_hold, observe.policy()
        return Rollout(
            self.revision, self.live, self.wanted, hold, policy.drain_seconds, policy.settle_seconds, self.now
        )

    @cached_property
    def _scaled(self) -> DeploymentEvent | None:
        """The decision that what moves now follows from."""
        event = self.deployment.events.filter(kind=Kind.SCALED).first()
        if event is None or event.data.get("to") != self.wanted:
            return None
        return event if event.at >= self.deployment.status_since - JUST_BEFORE else None

    def actions(self, *, may_deploy: bool) -> Actions:
        waits = self.backoff_left is not None
        return actions(self.deployment.status, may_deploy=may_deploy, waits_to_retry=waits)

    @property
    def shows_sides(self) -> bool:
        return self.rollout.is_going_on and self.deployment.terminate_requested_at is None

    @property
    def has_ended(self) -> bool:
        """Nothing runs until people ask for it."""
        return self.deployment.status in (DeploymentStatus.FAILED, DeploymentStatus.TERMINATED)

    @property
    def may_be_called(self) -> bool:
        return self.deployment.terminate_requested_at is None and not self.has_ended

    @property
    def scaled_from(self) -> int:
        return int(self._scaled.data.get("from", self.wanted)) if self._scaled else self.wanted

    @property
    def scaled_because(self) -> str:
        return EventLine(self._scaled, "", "", "").reason if self._scaled else ""

    @property
    def is_waking(self) -> bool:
        """A request woke it, and no replica has become ready since."""
        woken_at, status = self.deployment.woken_at, self.deployment.status
        if woken_at is None or status not in (DeploymentStatus.PENDING, DeploymentStatus.DEPLOYING):
            return False
        return not any(row.replica.ready_at and row.replica.ready_at >= woken_at for row in self.rows)

    @cached_property
    def backoff(self) -> backoff.Backoff:
        views = [observe.replica_view(row.replica) for row in self._lately_ended]
        return backoff.of(observe.deployment_view(self.deployment), views, observe.policy(), self.now)

    @property
    def backoff_left(self) -> float | None:
        """Seconds until it starts again after a failure; None while nothing waits for that."""
        running = len(self.starting) + self.ready
        if self.backoff.not_before is None or not self.backoff.holds(self.now) or running >= self.wanted:
            return None
        return None if self.deployment.failed_at else (self.backoff.not_before - self.now).total_seconds()

    @property
    def last_failure(self) -> str:
        failed = next((row for row in self._lately_ended if row.replica.state == R.FAILED), None)
        return failed.cause if failed else ""

    @cached_property
    def given_up(self) -> Revision | None:
        """The revision that the console rolled back by itself because it could not start, until the next change."""
        if self.revision.restores is None or self.revision.created_by_id is not None:
            return None
        earlier = self.deployment.revisions.filter(number__lt=self.revision.number, cause__isnull=False)
        return earlier.order_by("-number").first()

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
    def no_replicas(self) -> str:
        if self.deployment.status == DeploymentStatus.SLEEPING:
            return "It sleeps: no replica runs and no GPU is held."
        if self.wanted == 0 or self.deployment.failed_at:
            return "No replica is left; no GPU is held."
        if self.backoff_left is not None:
            return "No replica now: the next one starts after a pause, as the last one failed."
        return "No replica yet: the first one starts as soon as its GPUs are free."

    @property
    def failed_at(self) -> str:
        return format_moment(self.deployment.failed_at or self.now, self.now)

    @property
    def is_moving(self) -> bool:
        """Whether figures tick: something starts, ends or waits."""
        waits = bool(self.waiting) or self.backoff_left is not None
        return waits or any(row.replica.state != R.READY for row in self.live) or self.deployment.status in MOVING

    @property
    def effects(self) -> str:
        """What terminating stops and releases, in words."""
        if not self.live:
            return "No replica runs now and no GPU is held."
        stops = "stops" if len(self.live) == 1 else "stop"
        gpus = format_count(self.gpus_held, "GPU")
        released = "is released" if self.gpus_held == 1 else "are released"
        finish = f" Requests in flight get up to {settings.DRAIN_SECONDS} s to finish." if self.ready else ""
        return f"{format_count(len(self.live), 'replica')} {stops}, {gpus} {released}.{finish}"


def _stamps(replica: Replica) -> list[waterfall.Stamp]:
    """The starting phases of a replica, oldest first; phases are prefetched in that order."""
    return [
        waterfall.Stamp(phase.name, phase.started_at, phase.ended_at)
        for phase in replica.phases.all()
        if phase.name in STARTING
    ]
