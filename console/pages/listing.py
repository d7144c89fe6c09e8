"""The deployments list: one page of rows with what stands around them. Reads at first use, at most seven queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from uuid import UUID

from django.db.models import Prefetch, QuerySet

from accounts.roles import Right
from billing.queries import SUMS, Totals, UsageRow, usage
from console import access
from console.access import Actor
from console.components.gpu_inventory import GpuInventory
from console.components.layout import Layout
from console.pages.filters import GROUPS, LABEL_TEXT, PER_PAGE, Filters
from console.pages.rows import DeploymentRow, row
from deployments.models import CatalogModel, Deployment, Endpoint, Replica
from deployments.queries import status_counts
from deployments.states import LIVE
from deployments.states import DeploymentStatus as S

RECENT = timedelta(minutes=60)
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


@dataclass(frozen=True)
class Tab:
    title: str
    count: int
    address: str
    here: bool


@dataclass(frozen=True)
class Column:
    """A header. `address` is empty where the column does not sort; `sorted` is the value of `aria-sort`."""

    title: str
    kind: str
    address: str
    sorted: str


class DeploymentList:
    """What `actor` sees at the list with `filters` at `now`."""

    def __init__(self, actor: Actor, filters: Filters, now: datetime, layout: Layout | None = None) -> None:
        self.actor, self.filters, self.now = actor, filters, now
        self.layout = layout or Layout(actor, "")

    @property
    def inventory(self) -> GpuInventory:
        return self.layout.inventory

    @cached_property
    def _matching(self) -> QuerySet[Deployment]:
        return access.deployments(self.actor).annotate(label_text=LABEL_TEXT).filter(self.filters.condition)

    @cached_property
    def counts(self) -> dict[str, int]:
        """Deployments by status, as narrowed by everything but the tab."""
        return status_counts(self._matching) if self.filters.narrows else self.layout.status_counts

    @property
    def matches(self) -> int:
        return sum(self.counts[status] for status in self.filters.statuses)

    @property
    def has_none(self) -> bool:
        """Whether there is no deployment at all, whatever the filters."""
        return not self.layout.deployment_count

    @cached_property
    def used(self) -> dict[UUID, UsageRow]:
        """Requests and tokens of the last 60 minutes by deployment."""
        condition = access.visible(self.actor, "owner_organization_id")
        rows = usage(condition=condition, since=self.now - RECENT, until=self.now, group_by="deployment")
        return {one.group: one for one in rows}

    @property
    def total(self) -> Totals:
        return sum((Totals(*(getattr(one, name) for name in SUMS)) for one in self.used.values()), Totals())

    @cached_property
    def rows(self) -> list[DeploymentRow]:
        start = (self.filters.page - 1) * PER_PAGE
        live = _live_replicas()
        shown = self._matching.filter(status__in=self.filters.statuses).select_related("terminated_by")
        page = shown.order_by(*self.filters.order).prefetch_related(Prefetch("replicas", live, "live_replicas"))
        found = list(page[start : start + PER_PAGE])
        titles = _titles(found)
        return [
            row(
                one,
                titles=titles,
                used=self.used.get(one.pk),
                now=self.now,
                may_deploy=self.actor.may(Right.DEPLOY, one.organization_id),
            )
            for one in found
        ]

    @property
    def tabs(self) -> list[Tab]:
        return [
            Tab(
                title,
                sum(self.counts[status] for status in statuses),
                self.filters.address(status=group),
                group == self.filters.group,
            )
            for group, (title, statuses) in GROUPS.items()
        ]

    @property
    def columns(self) -> list[Column]:
        return [self._column(key, title, kind) for key, title, kind in COLUMNS]

    def _column(self, key: str, title: str, kind: str) -> Column:
        if not key:
            return Column(title, kind, "", "")
        here = self.filters.sort.removeprefix("-") == key
        down = self.filters.sort.startswith("-")
        address = self.filters.address(status=self.filters.group, sort=key if not here or down else f"-{key}")
        return Column(title, kind, address, ("descending" if down else "ascending") if here else "")

    @property
    def pages(self) -> int:
        return max(1, -(-self.matches // PER_PAGE))

    @property
    def earlier(self) -> str:
        return self.filters.address(page=self.filters.page - 1) if self.filters.page > 1 else ""

    @property
    def later(self) -> str:
        return self.filters.address(page=self.filters.page + 1) if self.filters.page < self.pages else ""

    @property
    def cleared(self) -> str:
        """This tab without any other filter."""
        return Filters(group=self.filters.group, sort=self.filters.sort).address()

    @property
    def running(self) -> int:
        return self.layout.status_counts[S.RUNNING]

    @property
    def failed(self) -> int:
        return self.layout.status_counts[S.FAILED]

    @property
    def movement(self) -> str:
        """1 changing, 2 waiting; or that nothing moves."""
        counts = self.layout.status_counts
        words = {title.lower(): sum(counts[one] for one in statuses) for title, statuses in GROUPS.values()}
        said = [f"{words[name]:,} {name}" for name in ("changing", "waiting") if words[name]]
        return ", ".join(said) or "nothing changes"

    @cached_property
    def endpoints(self) -> list[str]:
        return list(Endpoint.objects.order_by("name").values_list("name", flat=True))

    @property
    def may_deploy(self) -> bool:
        return access.may_somewhere(self.actor, Right.DEPLOY)

    @property
    def socket(self) -> str:
        return f"/ws/deployments/{self.filters.address(page=self.filters.page)}"


def _live_replicas() -> QuerySet[Replica]:
    live = Replica.objects.filter(state__in=LIVE).select_related("revision").order_by("created_at")
    return live.defer("log_tail", "revision__spec")


def _titles(found: Sequence[Deployment]) -> dict[str, str]:
    ids = {one.revision.spec["model"]["id"] for one in found if one.revision}
    return dict(CatalogModel.objects.filter(pk__in=ids).values_list("pk", "title"))
