"""The deployments list: one page of rows, with tabs, totals and filters."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Prefetch
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from accounts.models import Organization
from accounts.roles import Right
from billing.queries import SUMS, Totals, sum_usage
from console import access
from console.access import Actor
from console.components.formats import (
    format_count,
    format_duration,
    format_elapsed,
    format_moment,
    shorten_gpu_title,
)
from console.components.layout import Layout
from console.components.page_request import PageRequest
from console.components.template_tags import day_and_time, quiet_zero
from console.deployments.action_menu import Actions, offer_actions
from console.deployments.list_filters import GROUPS, LABEL_TEXT, DeploymentFilterForm, DeploymentFilters
from console.deployments.replica_rows import format_replica_range, make_cells
from deployments import queries
from deployments.messages import describe_reason
from deployments.models import CatalogModel, Deployment, Endpoint, Replica
from deployments.queries import Attention, StartLimits, late_starts
from deployments.states import LIVE, STARTING, STARTING_ORDER, DeploymentStatus, ReplicaState

S, R = DeploymentStatus, ReplicaState
FRAGMENTS = ("summary", "status_tabs", "result_count")
PER_PAGE = 50
RECENT = timedelta(minutes=60)
# Key of its order ("" does not sort), title, CSS class.
COLUMNS = (
    ("name", "Name", ""),
    ("status", "Status", ""),
    ("replicas", "Replicas", ""),
    ("gpus", "GPUs per replica", ""),
    ("", "Requests, 60 min", "number"),
    ("", "Tokens in, 60 min", "number"),
    ("", "Tokens out, 60 min", "number"),
    ("created", "Created", "number"),
)
# What the rows show of a deployment and of its live replicas.
DEPLOYMENT_COLUMNS = (
    "name", "created_at", "status", "status_since", "cause", "failed_at", "asleep_since", "terminated_at",
    "terminated_by__email", "terminate_requested_at", "pending_reason", "rollout_hold",
    "desired_replicas", "min_replicas", "max_replicas",
    "organization", "endpoint", "gpu_type__title", "gpu_type__memory_gb",
    "revision__number", "revision__spec", "revision__spec_hash",
)  # fmt: skip
REPLICA_COLUMNS = (
    "deployment", "state", "created_at", "bytes_done", "bytes_total", "revision__number", "revision__spec_hash",
)  # fmt: skip
PHASES = {
    R.REQUESTING_GPU: "Requesting GPU",
    R.DOWNLOADING_MODEL: "Downloading",
    R.ENGINE_INITIALIZING: "Initializing",
}


@require_safe
@login_required
def list_deployments(request: PageRequest) -> HttpResponse:
    now = timezone.now()  # noqa: TID251 - the edge: a page as of now
    layout = Layout(request.actor, request.path)
    filters = DeploymentFilters(**DeploymentFilterForm(request.GET).filters)
    page = read_list(request.actor, filters, now, layout)
    return render(request, "deployments/list.html", {"page": page, "layout": layout})


@dataclass(frozen=True)
class Tab:
    title: str
    count: int
    address: str
    is_current: bool


@dataclass(frozen=True)
class Column:
    """A header. `address` is empty where the column does not sort; `sorted` is the value of `aria-sort`."""

    title: str
    kind: str
    address: str
    sorted: str


@dataclass(frozen=True)
class DeploymentRow:
    """One deployment. `detail` is the second line of its status: why, how far or since when; `usage` is of the last
    60 minutes; `cells` is empty when there are too many."""

    deployment: Deployment
    model: str
    detail: str
    ready: int
    wanted: int
    cells: tuple[str, ...]
    replica_range: str
    gpu_count: int
    gpu: str
    usage: Totals
    actions: Actions
    is_late: bool

    @property
    def has_ended(self) -> bool:
        return self.deployment.status == S.TERMINATED

    @property
    def kind(self) -> Hashable:
        """What decides how the row looks, beside its `values`."""
        is_simulated = self.deployment.endpoint.cluster.simulated
        return self.deployment.status, self.is_late, self.cells, self.actions, is_simulated

    @property
    def values(self) -> dict[str, Any]:
        """The texts that the row shows, by their names in the template."""
        deployment, usage = self.deployment, self.usage
        return {
            "id": deployment.pk,
            "name": deployment.name,
            "model": self.model,
            "organization": deployment.organization.name,
            "detail": self.detail,
            "ready": self.ready,
            "wanted": self.wanted,
            "range": self.replica_range,
            "gpus": f"{self.gpu_count} × {self.gpu}" if self.gpu_count else self.gpu,
            "memory_gb": deployment.gpu_type.memory_gb,
            "requests": quiet_zero(usage.requests),
            "tokens_in": quiet_zero(usage.input_tokens),
            "tokens_out": quiet_zero(usage.output_tokens),
            "created": day_and_time(deployment.created_at),
        }

    @property
    def menu_key(self) -> str:
        """Changes with the entries of the menu, so that an open menu stays while they are the same."""
        return "".join(sorted(action[0] for action in self.actions.all)) + "o"


@dataclass(frozen=True)
class DeploymentListPage:
    """`counts` are deployments by status, as narrowed by everything but the tab; `totals` are of the last 60 minutes.
    `attention` is of all that the actor may see."""

    actor: Actor
    filters: DeploymentFilters
    layout: Layout
    counts: dict[str, int]
    rows: list[DeploymentRow]
    totals: Totals
    endpoints: list[str]
    attention: Attention

    @property
    def matches(self) -> int:
        return sum(self.counts[status] for status in self.filters.statuses)

    @property
    def is_empty(self) -> bool:
        """Whether there is no deployment at all, whatever the filters."""
        return not self.layout.deployment_count

    @property
    def tabs(self) -> list[Tab]:
        return [
            Tab(
                title,
                sum(self.counts[status] for status in statuses),
                self.filters.address(status=group),
                group == self.filters.status,
            )
            for group, (title, statuses) in GROUPS.items()
        ]

    @property
    def columns(self) -> list[Column]:
        return [self._make_column(key, title, kind) for key, title, kind in COLUMNS]

    def _make_column(self, key: str, title: str, kind: str) -> Column:
        if not key:
            return Column(title, kind, "", "")
        is_sorted = self.filters.sort.removeprefix("-") == key
        is_descending = self.filters.sort.startswith("-")
        sort = f"-{key}" if is_sorted and not is_descending else key
        direction = ("descending" if is_descending else "ascending") if is_sorted else ""
        return Column(title, kind, self.filters.address(sort=sort), direction)

    @property
    def page_count(self) -> int:
        return max(1, -(-self.matches // PER_PAGE))

    @property
    def earlier(self) -> str:
        return self.filters.address(page=self.filters.page - 1) if self.filters.page > 1 else ""

    @property
    def later(self) -> str:
        return self.filters.address(page=self.filters.page + 1) if self.filters.page < self.page_count else ""

    @property
    def cleared(self) -> str:
        """This tab without any other filter."""
        return DeploymentFilters(status=self.filters.status, sort=self.filters.sort).address()

    @property
    def running(self) -> int:
        return self.layout.status_counts[S.RUNNING]

    @property
    def failed(self) -> int:
        return self.layout.status_counts[S.FAILED]

    @property
    def attention_text(self) -> str:
        """1 failed, 2 starts late, 1 with unknown replicas; or that nothing needs it."""
        counts = (
            (self.failed, f"{self.failed:,} failed"),
            (self.attention.late, f"{format_count(self.attention.late, 'start')} late"),
            (self.attention.broken, f"{self.attention.broken:,} with internal errors"),
            (self.attention.unknown, f"{self.attention.unknown:,} with unknown replicas"),
        )
        return ", ".join(text for count, text in counts if count) or "nothing failed or late"

    @property
    def movement(self) -> str:
        """1 changing, 2 waiting; or that nothing changes."""
        counts = {name: sum(self.layout.status_counts[status] for status in GROUPS[name][1]) for name in GROUPS}
        return (
            ", ".join(f"{counts[name]:,} {name}" for name in ("changing", "waiting", "sleeping") if counts[name])
            or "no changes in progress"
        )

    @property
    def may_deploy(self) -> bool:
        return access.may_somewhere(self.actor, Right.DEPLOY)

    @property
    def socket(self) -> str:
        return f"/ws/deployments/{self.filters.address(page=self.filters.page)}"


def read_list(
    actor: Actor, filters: DeploymentFilters, now: datetime, layout: Layout | None = None
) -> DeploymentListPage:
    """The number of queries is the same for any number of deployments; at most 15 with those of the layout."""
    layout = layout or Layout(actor, "")
    visible = access.deployments(actor)
    matching = visible.alias(label_text=LABEL_TEXT).filter(filters.condition)
    condition = access.visible(actor, "owner_organization_id")
    usage_rows = sum_usage(condition=condition, since=now - RECENT, until=now, group_by="deployment")
    totals = sum((Totals(*(getattr(row, name) for name in SUMS)) for row in usage_rows), Totals())

    replicas = Replica.objects.filter(state__in=LIVE).select_related("revision").order_by("created_at")
    live = Prefetch("replicas", replicas.only(*REPLICA_COLUMNS), "live_replicas")
    start = (filters.page - 1) * PER_PAGE
    in_tab = matching.filter(status__in=filters.statuses).order_by(*filters.order)
    in_tab = (
        in_tab.select_related(None).select_related("revision", "gpu_type", "terminated_by").only(*DEPLOYMENT_COLUMNS)
    )
    deployments = list(in_tab.prefetch_related(live)[start : start + PER_PAGE])
    endpoints = list(Endpoint.objects.select_related("cluster").order_by("name"))
    _set_parents(deployments, layout.organizations, endpoints)
    model_ids = {_model_id(deployment) for deployment in deployments}
    titles = dict(CatalogModel.objects.filter(pk__in=model_ids).order_by().values_list("pk", "title"))
    usage_by_id = {row.group: row for row in usage_rows}
    late = late_starts(visible, now)
    rows = [
        make_row(actor, deployment, titles, usage_by_id.get(deployment.pk, Totals()), late.get(deployment.pk), now)
        for deployment in deployments
    ]
    return DeploymentListPage(
        actor=actor,
        filters=filters,
        layout=layout,
        counts=queries.status_counts(matching) if filters.is_narrow else layout.status_counts,
        rows=rows,
        totals=totals,
        endpoints=[endpoint.name for endpoint in endpoints],
        attention=queries.count_attention(visible, late),
    )


def _set_parents(
    deployments: Sequence[Deployment], organizations: list[Organization], endpoints: list[Endpoint]
) -> None:
    """Every page reads these few rows anyway; joined, each deployment would bring its own copies of them."""
    organization_by_id = {organization.pk: organization for organization in organizations}
    endpoint_by_id = {endpoint.pk: endpoint for endpoint in endpoints}
    for deployment in deployments:
        deployment.organization = organization_by_id[deployment.organization_id]
        deployment.endpoint = endpoint_by_id[deployment.endpoint_id]


def make_row(
    actor: Actor,
    deployment: Deployment,
    titles: dict[str, str],
    usage: Totals,
    late: StartLimits | None,
    now: datetime,
) -> DeploymentRow:
    """Reads nothing: `deployment` has its live replicas prefetched; `titles` are those of catalog models by id; `late`:
    the limits of a start that is late."""
    model_id = _model_id(deployment)
    live: list[Replica] = deployment.live_replicas  # type: ignore[attr-defined]
    wanted = 0 if deployment.terminate_requested_at else deployment.desired_replicas
    may_deploy = actor.may(Right.DEPLOY, deployment.organization_id)
    return DeploymentRow(
        deployment=deployment,
        model=titles.get(model_id, model_id) or "configuration cannot be read",
        detail=explain_status(deployment, live, now) if late is None else _explain_late(late, now),
        ready=sum(replica.state == R.READY for replica in live),
        wanted=wanted,
        cells=make_cells(deployment, live, wanted),
        replica_range=format_replica_range(deployment) or "fixed",
        gpu_count=deployment.revision.spec.get("gpu_count", 0) if deployment.revision else 0,
        gpu=shorten_gpu_title(deployment.gpu_type.title, deployment.gpu_type.memory_gb),
        usage=usage,
        actions=offer_actions(deployment.status, may_deploy=may_deploy, has_replicas=bool(live)),
        is_late=late is not None,
    )


def _model_id(deployment: Deployment) -> str:
    """Empty if this release cannot read the configuration."""
    return str(deployment.revision.spec.get("model", {}).get("id", "")) if deployment.revision else ""


def explain_status(deployment: Deployment, live: list[Replica], now: datetime) -> str:
    if unknown := sum(replica.state == R.UNKNOWN for replica in live):
        return f"{format_count(unknown, 'replica')} unknown: an operator must look"
    match deployment.status:
        case S.PENDING:
            reason = queries.explain_pending(deployment, now)
            return reason.phrase if reason else "waiting for its turn"
        case S.DEPLOYING:
            return _explain_start(live, now)
        case S.SCALING:
            ready = sum(replica.state == R.READY for replica in live)
            return f"{ready} → {deployment.desired_replicas}, {_explain_start(live, now)}"
        case S.ROLLING:
            return _explain_rollout(deployment, live)
        case S.SLEEPING:
            idle = now - (deployment.asleep_since or deployment.status_since)
            return f"idle {format_duration(idle.total_seconds())}, a request wakes it"
        case S.FAILED:
            return describe_reason(deployment.cause).title if deployment.cause else "unknown cause"
        case S.TERMINATING:
            return f"{format_count(len(live), 'replica')} to stop" if live else "nothing left to stop"
        case S.TERMINATED:
            by = f", by {deployment.terminated_by.email}" if deployment.terminated_by else ""
            return f"{format_moment(deployment.terminated_at or deployment.status_since, now)} UTC{by}"
        case _:
            return f"since {format_moment(deployment.status_since, now)} UTC"


def _explain_late(late: StartLimits, now: datetime) -> str:
    return f"late, fails at {format_moment(late.fails_at, now)} UTC"


def _explain_rollout(deployment: Deployment, live: list[Replica]) -> str:
    """revision 7 → 8, 1 of 2 replaced. A replica with the same configuration counts as replaced."""
    assert deployment.revision, "every deployment has its first revision from the start"
    wanted = deployment.revision
    old = [replica.revision.number for replica in live if replica.revision.spec_hash != wanted.spec_hash]
    revisions = f"revision {max(old)} → {wanted.number}" if old else f"revision {wanted.number}"
    if deployment.rollout_hold:
        return f"{revisions}, held: {describe_reason(deployment.rollout_hold).phrase}"
    new = sum(replica.revision.spec_hash == wanted.spec_hash and replica.state == R.READY for replica in live)
    return f"{revisions}, {min(new, deployment.desired_replicas)} of {deployment.desired_replicas} replaced"


def _explain_start(live: list[Replica], now: datetime) -> str:
    """2/3 Downloading, 42 %, 0:42: the replica that is furthest."""
    starting = [replica for replica in live if replica.state in STARTING]
    if not starting:
        return "waiting for GPUs"
    first = max(starting, key=lambda replica: STARTING_ORDER.index(R(replica.state)))
    step = STARTING_ORDER.index(R(first.state)) + 1
    percent = ""
    if first.state == R.DOWNLOADING_MODEL and first.bytes_done and first.bytes_total:
        percent = f", {100 * first.bytes_done // first.bytes_total} %"
    return f"{step}/3 {PHASES[R(first.state)]}{percent}, {format_elapsed((now - first.created_at).total_seconds())}"
