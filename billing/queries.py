"""Sums of usage over a period: full hours from the hourly rows, partial hours at both ends from the events."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import Trunc

from billing.models import UsageEvent, UsageHour

GROUP_COLUMNS = {
    "deployment": "deployment_id",
    "api_key": "key_id",
    "user": "user_id",
    "organization": "organization_id",
    "hour": "hour",
    "day": "day",
}
GroupRows = Any  # a QuerySet of dicts with the keys `group` and SUMS
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
    """Totals of one group. `group` is an id, or the start (aware, UTC) for the groupings `hour` and `day`."""

    group: Any = None


def sum_usage(*, condition: Q, since: datetime, until: datetime, group_by: str) -> list[UsageRow]:
    """Sum the requests admitted in [since, until) by one of GROUP_COLUMNS.

    `condition` filters by the organization, deployment, key and user columns. Times are sorted ascending, ids by number
    of requests, descending. Groups without requests are absent.
    """
    sums: dict[Any, Totals] = {}
    for rows in _query_parts(condition, since, until, group_by):
        for row in rows:
            group = row.pop("group")
            sums[group] = sums.get(group, Totals()) + Totals(**{name: row[name] or 0 for name in SUMS})
    usage_rows = [UsageRow(**vars(total), group=group) for group, total in sums.items()]
    if group_by in ("hour", "day"):
        return sorted(usage_rows, key=lambda row: row.group)
    return sorted(usage_rows, key=lambda row: (-row.requests, str(row.group)))


def sum_usage_by_deployment(ids: Iterable[uuid.UUID], since: datetime, until: datetime) -> dict[uuid.UUID, UsageRow]:
    """Sum the usage of the given deployments in [since, until); deployments without requests are absent."""
    rows = sum_usage(condition=Q(deployment_id__in=list(ids)), since=since, until=until, group_by="deployment")
    return {row.group: row for row in rows}


def get_month_start(now: datetime) -> datetime:
    """Return the first moment (UTC) of the calendar month of `now`."""
    return now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _query_parts(condition: Q, since: datetime, until: datetime, group_by: str) -> list[GroupRows]:
    """Split the period into full hours, read from UsageHour, and partial hours, read from UsageEvent."""
    first, last = _round_up_to_hour(since), _round_down_to_hour(until)
    if last <= first:
        return [_query_events(condition, since, until, group_by)] if since < until else []
    parts = [_query_hours(condition, first, last, group_by)]
    if since < first:
        parts.append(_query_events(condition, since, first, group_by))
    if last < until:
        parts.append(_query_events(condition, last, until, group_by))
    return parts


def _query_hours(condition: Q, since: datetime, until: datetime, group_by: str) -> GroupRows:
    rows = UsageHour.objects.filter(condition, hour__gte=since, hour__lt=until)
    return _group(rows, "hour", group_by).annotate(
        requests=Sum("requests"),
        input_tokens=Sum("input_tokens"),
        cached_input_tokens=Sum("cached_input_tokens"),
        output_tokens=Sum("output_tokens"),
    )


def _query_events(condition: Q, since: datetime, until: datetime, group_by: str) -> GroupRows:
    rows = UsageEvent.objects.filter(condition, admitted_at__gte=since, admitted_at__lt=until)
    return _group(rows, "admitted_at", group_by).annotate(
        requests=Count("request_id", filter=Q(sequence=0)),
        input_tokens=Sum("input_tokens"),
        cached_input_tokens=Sum("cached_input_tokens"),
        output_tokens=Sum("output_tokens"),
    )


def _group(rows: QuerySet[Any], time_column: str, group_by: str) -> GroupRows:
    column = GROUP_COLUMNS[group_by]
    group = Trunc(time_column, column, tzinfo=UTC) if column in ("hour", "day") else F(column)
    return rows.order_by().values(group=group)


def _round_down_to_hour(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _round_up_to_hour(time: datetime) -> datetime:
    hour = _round_down_to_hour(time)
    return hour if hour == time else hour + timedelta(hours=1)
