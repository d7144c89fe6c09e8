"""Reads of usage: sums over whole hours from the hourly rows, over broken hours from the events themselves."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import Trunc

from billing.models import UsageEvent, UsageHour

GROUPS = {
    "deployment": "deployment_id",
    "api_key": "key_id",
    "user": "user_id",
    "organization": "organization_id",
    "hour": "hour",
    "day": "day",
}
Groups = Any  # QuerySet of dicts: `group` and SUMS; its exact type depends on the columns
SUMS = ("requests", "input_tokens", "cached_input_tokens", "output_tokens")


@dataclass(frozen=True)
class Totals:
    """Requests and tokens over a period."""

    requests: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(*(getattr(self, name) + getattr(other, name) for name in SUMS))


@dataclass(frozen=True)
class UsageRow(Totals):
    """Totals of one group; `group` is the id, or for `hour` and `day` the start (aware, UTC)."""

    group: Any = None


def usage(*, condition: Q, since: datetime, until: datetime, group_by: str) -> list[UsageRow]:
    """Sums of what was admitted in [since, until), by one of GROUPS, in ascending order for times and most requests
    first for ids. `condition` is over the organization, deployment, key and user columns."""
    sums: dict[Any, Totals] = {}
    for rows in _parts(condition, since, until, group_by):
        for row in rows:
            group = row.pop("group")
            sums[group] = sums.get(group, Totals()) + Totals(**{name: row[name] or 0 for name in SUMS})
    listed = [UsageRow(**vars(total), group=group) for group, total in sums.items()]
    if group_by in ("hour", "day"):
        return sorted(listed, key=lambda row: row.group)
    return sorted(listed, key=lambda row: (-row.requests, str(row.group)))


def totals_by_deployment(ids: Iterable[uuid.UUID], since: datetime, until: datetime) -> dict[uuid.UUID, UsageRow]:
    """Totals of the given deployments in [since, until); deployments without requests are absent."""
    rows = usage(condition=Q(deployment_id__in=list(ids)), since=since, until=until, group_by="deployment")
    return {row.group: row for row in rows}


def start_of_month(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _parts(condition: Q, since: datetime, until: datetime, group_by: str) -> list[Groups]:
    """Whole hours from UsageHour, the broken hours at either end from UsageEvent."""
    first, last = _hour_at_or_after(since), _hour_at_or_before(until)
    if last <= first:
        return [_events(condition, since, until, group_by)] if since < until else []
    parts = [_hours(condition, first, last, group_by)]
    if since < first:
        parts.append(_events(condition, since, first, group_by))
    if last < until:
        parts.append(_events(condition, last, until, group_by))
    return parts


def _hours(condition: Q, since: datetime, until: datetime, group_by: str) -> Groups:
    rows = UsageHour.objects.filter(condition, hour__gte=since, hour__lt=until)
    return _grouped(rows, "hour", group_by).annotate(
        requests=Sum("requests"),
        input_tokens=Sum("input_tokens"),
        cached_input_tokens=Sum("cached_input_tokens"),
        output_tokens=Sum("output_tokens"),
    )


def _events(condition: Q, since: datetime, until: datetime, group_by: str) -> Groups:
    rows = UsageEvent.objects.filter(condition, admitted_at__gte=since, admitted_at__lt=until)
    return _grouped(rows, "admitted_at", group_by).annotate(
        requests=Count("request_id"),
        input_tokens=Sum("input_tokens"),
        cached_input_tokens=Sum("cached_input_tokens"),
        output_tokens=Sum("output_tokens"),
    )


def _grouped(rows: QuerySet[Any], time: str, group_by: str) -> Groups:
    column = GROUPS[group_by]
    kind = Trunc(time, column, tzinfo=UTC) if column in ("hour", "day") else F(column)
    return rows.order_by().values(group=kind)


def _hour_at_or_before(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _hour_at_or_after(time: datetime) -> datetime:
    floor = _hour_at_or_before(time)
    return floor if floor == time else floor + timedelta(hours=1)
