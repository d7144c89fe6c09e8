"""Usage as a table of names and figures, for the page and its CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

from django.db.models import Q

from accounts.models import ApiKey
from accounts.roles import Right
from billing.queries import SUMS, Totals, UsageRow, sum_usage
from console import access
from console.access import Actor
from console.forms.usage import Period
from deployments.models import Deployment

HEADINGS = ("name", "id", "organization", *SUMS)


@dataclass(frozen=True)
class Line:
    """One group: `name` may be that of something deleted; `url` is empty where there is no page to show."""

    id: UUID
    name: str
    note: str
    organization: str
    deployment_id: UUID | None
    usage: UsageRow


class Report:
    """What `actor`'s organizations used in `period`, grouped by `deployment` or `api_key`: most requests first."""

    def __init__(self, actor: Actor, period: Period, group_by: str) -> None:
        self.actor, self.period, self.group_by = actor, period, group_by

    @property
    def condition(self) -> Q:
        """Calls that the organizations made; by key only those of the person's own keys, unless the person manages the
        organization's keys."""
        own = access.visible(self.actor)
        if self.group_by != "api_key" or self.actor.is_operator:
            return own
        managed = [one for one in self.actor.roles if self.actor.may(Right.MANAGE_ORGANIZATION_KEYS, one)]
        return own & (Q(user_id=self.actor.user.pk) | Q(organization_id__in=managed))

    @cached_property
    def lines(self) -> list[Line]:
        rows = sum_usage(
            condition=self.condition, since=self.period.since, until=self.period.until, group_by=self.group_by
        )
        return _key_lines(rows) if self.group_by == "api_key" else _deployment_lines(self.actor, rows)

    @property
    def total(self) -> Totals:
        return sum((Totals(*(getattr(line.usage, name) for name in SUMS)) for line in self.lines), Totals())


def _key_lines(rows: list[UsageRow]) -> list[Line]:
    keys = ApiKey.objects.select_related("user", "organization").in_bulk([row.group for row in rows])
    return [_key_line(row, keys.get(row.group)) for row in rows]


def _key_line(row: UsageRow, key: ApiKey | None) -> Line:
    """Keys of the playground are short-lived: a day after their end only their usage is left."""
    if key is None or key.kind == ApiKey.Kind.PLAYGROUND:
        who = f" · {key.user}" if key else ""
        return Line(
            row.group, "Playground", f"key of five minutes{who}", key.organization.name if key else "", None, row
        )
    state = ", revoked" if key.revoked_at else ""
    return Line(key.pk, key.name, f"{key.prefix}… · {key.user}{state}", key.organization.name, None, row)


def _deployment_lines(actor: Actor, rows: list[UsageRow]) -> list[Line]:
    """Deleted deployments too: their usage stays."""
    found = Deployment.objects.filter(access.visible(actor), pk__in=[row.group for row in rows])
    known = {one.pk: one for one in found.select_related("organization")}
    return [_deployment_line(row, known.get(row.group)) for row in rows]


def _deployment_line(row: UsageRow, found: Deployment | None) -> Line:
    if found is None:
        return Line(row.group, str(row.group), "of another organization", "", None, row)
    if found.deleted_at:
        return Line(found.pk, found.name, "deleted", found.organization.name, None, row)
    return Line(found.pk, found.name, "", found.organization.name, found.pk, row)


def as_csv(report: Report) -> str:
    """A header line, then one line for each group."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(HEADINGS)
    writer.writerows(_values(report))
    return out.getvalue()


def _values(report: Report) -> Iterator[tuple[object, ...]]:
    for line in report.lines:
        figures = (getattr(line.usage, name) for name in SUMS)
        yield (_plain(line.name), line.id, _plain(line.organization), *figures)


def _plain(text: str) -> str:
    """Spreadsheets run what begins like a formula; an apostrophe in front makes it text."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t")) else text
