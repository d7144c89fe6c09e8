"""Requests and tokens of a period, summed by deployment, API key, user, organization, hour or day."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from accounts.models import ApiKey, Organization, User
from billing.queries import SUMS, UsageRow, get_month_start, sum_usage
from console.access import visible
from console.api.operations import Answer, Call, utc
from console.api.parameters import Choice, Moment
from deployments.models import Deployment

Names = Mapping[uuid.UUID, str]
FIRST_RECORD = datetime(2026, 1, 1, tzinfo=UTC)


def _names(rows: Iterable[tuple[uuid.UUID, str]]) -> Names:
    return dict(rows)


NAMED: Mapping[str, Callable[[list[uuid.UUID]], Names]] = {
    "deployment": lambda ids: _names(Deployment.objects.filter(pk__in=ids).values_list("pk", "name")),
    "api_key": lambda ids: _names(ApiKey.objects.filter(pk__in=ids).values_list("pk", "name")),
    "user": lambda ids: _names(User.objects.filter(pk__in=ids).values_list("pk", "email")),
    "organization": lambda ids: _names(Organization.objects.filter(pk__in=ids).values_list("pk", "slug")),
}
TIMES = ("hour", "day")
PARAMETERS = (
    Moment("from", "Start of the period, included; a date means its first moment in UTC. Default: start of the month."),
    Moment("to", "End of the period, excluded. Default: now."),
    Choice("group_by", "What each row is about.", default="deployment", among=(*NAMED, *TIMES)),
)


def sums(call: Call) -> Answer:
    since = _within_records(call.query["from"] or get_month_start(call.now), call.now)
    until = _within_records(call.query["to"] or call.now, call.now)
    group_by = call.query["group_by"]
    rows = sum_usage(condition=visible(call.caller.actor), since=since, until=until, group_by=group_by)
    data = {
        "from": utc(since),
        "to": utc(until),
        "group_by": group_by,
        "data": _times(group_by, rows) if group_by in TIMES else _named(group_by, rows),
        "next_cursor": None,
    }
    return Answer(200, data)


def _within_records(time: datetime, now: datetime) -> datetime:
    """No request was counted before FIRST_RECORD, and none will have been after tomorrow."""
    return max(FIRST_RECORD, min(time, now + timedelta(days=1)))


def _times(group_by: str, rows: list[UsageRow]) -> list[dict[str, Any]]:
    return [{group_by: utc(row.group), **_sums(row)} for row in rows]


def _named(group_by: str, rows: list[UsageRow]) -> list[dict[str, Any]]:
    """`…_id` is the id; beside it stands the name, e-mail or slug (null where it is no longer known)."""
    names = NAMED[group_by]([row.group for row in rows])
    return [{f"{group_by}_id": str(row.group), group_by: names.get(row.group), **_sums(row)} for row in rows]


def _sums(row: UsageRow) -> dict[str, int]:
    return {name: getattr(row, name) for name in SUMS}
