"""Usage: requests and tokens by deployment or API key, as a page and as CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from accounts.models import ApiKey
from billing.queries import SUMS, Totals, UsageRow, sum_usage
from console import access
from console.access import Actor
from console.components.page_request import PageRequest
from console.usage.forms import GROUPS, PERIODS, Period, UsageForm, data_from_address
from deployments.models import Deployment


@require_safe
@login_required
def show_usage(request: PageRequest) -> HttpResponse:
    form = UsageForm(request.GET)
    period = form.span(timezone.now())  # noqa: TID251 - the edge: usage up to now
    context = {
        "form": form,
        "table": read_usage_table(request.actor, period, form.cleaned_data.get("group_by", "deployment")),
        "period": form.cleaned_data.get("period", "custom"),
        "periods": PERIODS,
        "groups": GROUPS,
    }
    return render(request, "usage/usage_table.html", context)


@require_safe
@login_required
def download_csv(request: PageRequest, period: str, group_by: str) -> HttpResponse:
    form = UsageForm(data_from_address(period, group_by))
    if not form.is_valid():
        raise Http404("No such period or group.")
    span = form.span(timezone.now())  # noqa: TID251 - the edge: usage up to now
    table = read_usage_table(request.actor, span, form.cleaned_data["group_by"])
    headers = {"Content-Disposition": 'attachment; filename="usage.csv"'}
    return HttpResponse(render_csv(table), content_type="text/csv; charset=utf-8", headers=headers)


@dataclass(frozen=True)
class UsageLine:
    """One group: `name` may be that of something deleted; `deployment_id` is None where there is no page to link."""

    id: UUID
    name: str
    note: str
    organization: str
    deployment_id: UUID | None
    usage: UsageRow


@dataclass(frozen=True)
class UsageTable:
    """What the organizations of a person used in `period`, most requests first."""

    period: Period
    group_by: str
    lines: list[UsageLine]

    @property
    def total(self) -> Totals:
        return sum((Totals(*(getattr(line.usage, name) for name in SUMS)) for line in self.lines), Totals())


def read_usage_table(actor: Actor, period: Period, group_by: str) -> UsageTable:
    """`group_by` is `deployment` or `api_key`."""
    condition = access.visible_usage(actor, group_by)
    rows = sum_usage(condition=condition, since=period.since, until=period.until, group_by=group_by)
    ids = [row.group for row in rows]
    if group_by == "api_key":
        keys = ApiKey.objects.select_related("user", "organization").in_bulk(ids)
        return UsageTable(period, group_by, [_key_line(row, keys.get(row.group)) for row in rows])
    deployments = Deployment.objects.filter(access.visible(actor), pk__in=ids).select_related("organization")
    known = deployments.in_bulk()
    return UsageTable(period, group_by, [_deployment_line(row, known.get(row.group)) for row in rows])


def _key_line(row: UsageRow, key: ApiKey | None) -> UsageLine:
    """A key of the playground is deleted a day after it expires, while its usage stays."""
    if key is None or key.kind == ApiKey.Kind.PLAYGROUND:
        note = "temporary key" + (f" · {key.user.email}" if key else "")
        return UsageLine(row.group, "Playground", note, key.organization.name if key else "", None, row)
    note = f"{key.prefix}… · {key.user.email}" + (", revoked" if key.revoked_at else "")
    return UsageLine(key.pk, key.name, note, key.organization.name, None, row)


def _deployment_line(row: UsageRow, deployment: Deployment | None) -> UsageLine:
    """A deleted deployment has no page, but its usage stays."""
    if deployment is None:
        return UsageLine(row.group, str(row.group), "of another organization", "", None, row)
    note, link = ("deleted", None) if deployment.deleted_at else ("", deployment.pk)
    return UsageLine(deployment.pk, deployment.name, note, deployment.organization.name, link, row)


def render_csv(table: UsageTable) -> str:
    """A header line, then one line for each group."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(("name", "id", "organization", *SUMS))
    for line in table.lines:
        sums = (getattr(line.usage, name) for name in SUMS)
        writer.writerow((_escape_formula(line.name), line.id, _escape_formula(line.organization), *sums))
    return out.getvalue()


def _escape_formula(text: str) -> str:
    """Spreadsheets execute a cell that begins like a formula; with an apostrophe in front it is text."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t")) else text
