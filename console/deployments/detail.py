"""The page of a deployment: banner, readouts, starts, replicas, timeline, quick start, playground, engine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from billing.queries import Totals, get_month_start, sum_usage_by_deployment
from console import access
from console.access import Actor
from console.components.formats import format_moment
from console.components.page_request import PageRequest
from console.deployments.configuration_lines import ConfigurationLine, list_engine_settings
from console.deployments.page_context import CurrentState, page_context, read_state
from console.deployments.replica_rows import ReplicaRow, format_replica_range, make_cells
from console.deployments.startup_waterfall import Phase, Waterfall, draw_waterfall
from console.deployments.status_banner import Banner, read_banner
from console.deployments.timeline import EventLine, make_event_lines
from deployments import queries
from deployments.models import CatalogModel, Deployment
from deployments.states import ENDED, STARTING, DeploymentStatus, ReplicaState

FRAGMENTS = ("header", "status_banner", "readouts", "startup", "replicas", "timeline", "quick_start", "engine")
MAX_STARTS, MAX_ENDED, MAX_EVENTS = 4, 20, 30


@require_safe
@login_required
def show_deployment(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    deployment = access.deployment(request.actor, str(deployment_id))
    now = timezone.now()  # noqa: TID251 - the edge: a page as of now
    return render(request, "deployments/detail.html", read_context(request.actor, deployment, now))


@dataclass(frozen=True)
class Startup:
    """The start of a replica; `is_over` for the latest that became ready. `row` is None for a replica that is to come;
    `number` counts from 1. `limits`: of a start that goes on."""

    row: ReplicaRow | None
    chart: Waterfall
    is_over: bool
    number: int
    limits: queries.StartLimits | None = None

    @property
    def key(self) -> str:
        return self.row.short if self.row else f"coming-{self.number}"

    @property
    def is_late(self) -> bool:
        return bool(self.row and self.limits and self.limits.is_late(self.row.now))


@dataclass(frozen=True)
class DetailPage:
    """What is on the page besides the current state. `coming` counts the replicas that are wanted while none has begun.
    `usage` is of this month, `month` says so; `cells` is empty when there are too many; `ended_count` counts also those
    that `ended` leaves out."""

    banner: Banner
    failed_at: str
    cells: tuple[str, ...]
    replica_range: str
    usage: Totals
    month: str
    startups: list[Startup]
    coming: range
    more_starting: int
    model_title: str
    ended: list[ReplicaRow]
    ended_count: int
    no_replicas: str
    events: list[EventLine]
    engine: list[ConfigurationLine]


def read_context(actor: Actor, deployment: Deployment, now: datetime) -> dict[str, Any]:
    state = read_state(deployment, now)
    return {**page_context(actor, state), "page": read_detail(state)}


def read_detail(state: CurrentState) -> DetailPage:
    deployment, now, header = state.deployment, state.now, state.header
    coming = count_coming(state)
    startups = read_startups(state, coming)
    first_start = next((startup for startup in startups if startup.row and not startup.is_over), None)
    model = CatalogModel.objects.filter(pk=header.spec.model.id).first() if header.spec else None
    replica_range = format_replica_range(deployment)
    return DetailPage(
        banner=read_banner(state, *((first_start.chart, first_start.limits) if first_start else (None, None))),
        failed_at=format_moment(deployment.failed_at or now, now),
        cells=make_cells(deployment, [row.replica for row in state.live], state.wanted),
        replica_range=f"range {replica_range}" if replica_range else "fixed number",
        usage=sum_usage_by_deployment([deployment.pk], get_month_start(now), now).get(deployment.pk, Totals()),
        month=f"since 1 {now:%b}, UTC",
        startups=startups,
        coming=range(1, coming + 1),
        more_starting=max(0, len(state.starting) - MAX_STARTS),
        model_title=model.title if model else header.spec.model.repository if header.spec else "this model",
        ended=state.ended[:MAX_ENDED],
        ended_count=deployment.replicas.filter(state__in=ENDED).count(),
        no_replicas=explain_no_replicas(state),
        events=make_event_lines(deployment.events.all()[:MAX_EVENTS], now),
        engine=list_engine_settings(header),
    )


def count_coming(state: CurrentState) -> int:
    """Replicas that are wanted while none has begun; their places are drawn, so that nothing moves when they come."""
    waits = state.deployment.status in (DeploymentStatus.PENDING, DeploymentStatus.DEPLOYING)
    return state.wanted if waits and not state.live and state.backoff_left is None else 0


def read_startups(state: CurrentState, coming: int) -> list[Startup]:
    """The starts that go on, or are to come; else the latest that became ready while the deployment lives. They are
    compared with earlier starts, never with themselves."""
    phases = {
        row.replica.pk: [
            Phase(phase.name, phase.started_at, phase.ended_at)
            for phase in row.replica.phases.all()
            if phase.name in STARTING
        ]
        for row in state.live
    }
    rows = [row for row in reversed(state.starting[-MAX_STARTS:]) if phases[row.replica.pk]]
    if not rows:
        ready = (row for row in state.live if row.replica.state == ReplicaState.READY and phases[row.replica.pk])
        rows = list(islice(ready, 1))
    if not rows and not coming:
        return []
    measured = queries.measure_starts(state.deployment, [row.replica.pk for row in rows])
    if not rows:
        chart = draw_waterfall([], measured.phases, state.now)
        return [Startup(None, chart, is_over=False, number=number) for number in range(1, min(coming, MAX_STARTS) + 1)]
    return [
        _make_startup(row, draw_waterfall(phases[row.replica.pk], measured.phases, state.now), number, measured)
        for number, row in enumerate(rows, start=1)
    ]


def _make_startup(row: ReplicaRow, chart: Waterfall, number: int, measured: queries.MeasuredStarts) -> Startup:
    if row.replica.state not in STARTING:
        return Startup(row, chart, is_over=True, number=number)
    limits = queries.start_limits(row.replica, measured)
    return Startup(row, chart, is_over=False, number=number, limits=limits)


def explain_no_replicas(state: CurrentState) -> str:
    if state.deployment.status == DeploymentStatus.SLEEPING:
        return "The deployment is asleep: it has no replicas and holds no GPUs."
    if state.wanted == 0 or state.deployment.failed_at:
        return "It has no replicas and holds no GPUs."
    if state.backoff_left is not None:
        return "The last replica failed. The next one starts after a pause."
    return "No replicas yet. The first one starts when GPUs are free."
