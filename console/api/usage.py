"""Requests and tokens of a period, summed by deployment, API key, user, organization, hour or day."""

import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from ninja import Query
from pydantic import BaseModel, Field

from accounts import models as accounts
from billing import queries
from console.access import visible_usage
from console.api.auth import ApiRequest
from console.api.field_types import Moment, Resource, Time
from console.api.strict_router import Router
from deployments.models import Deployment

router = Router(tags=["Usage"])
Names = Mapping[uuid.UUID, str]
FIRST_RECORD = datetime(2026, 1, 1, tzinfo=UTC)


OMITTED: Any = Field(default_factory=lambda: None)  # a field of other groups, absent from the answer


class GroupBy(StrEnum):
    DEPLOYMENT = "deployment"
    API_KEY = "api_key"
    USER = "user"
    ORGANIZATION = "organization"
    HOUR = "hour"
    DAY = "day"


def _names(rows: Iterable[tuple[uuid.UUID, str]]) -> Names:
    return dict(rows)


FIND_NAMES: Mapping[GroupBy, Callable[[list[uuid.UUID]], Names]] = {
    GroupBy.DEPLOYMENT: lambda ids: _names(Deployment.objects.filter(pk__in=ids).values_list("pk", "name")),
    GroupBy.API_KEY: lambda ids: _names(accounts.ApiKey.objects.filter(pk__in=ids).values_list("pk", "name")),
    GroupBy.USER: lambda ids: _names(accounts.User.objects.filter(pk__in=ids).values_list("pk", "email")),
    GroupBy.ORGANIZATION: lambda ids: _names(
        accounts.Organization.objects.filter(pk__in=ids).values_list("pk", "slug")
    ),
}


class UsageParameters(BaseModel):
    since: Moment | None = Field(
        None,
        alias="from",
        description="Start of the period, inclusive; a date means midnight UTC. Default: start of the month.",
    )
    until: Moment | None = Field(None, alias="to", description="End of the period, exclusive. Default: now.")
    group_by: GroupBy = Field(GroupBy.DEPLOYMENT, description="What the rows are grouped by.")


class UsageRow(Resource):
    """The group, as …_id with its name beside it (null where it is no longer known) or as a time, and its sums."""

    deployment_id: str = OMITTED
    deployment: str | None = OMITTED
    api_key_id: str = OMITTED
    api_key: str | None = OMITTED
    user_id: str = OMITTED
    user: str | None = OMITTED
    organization_id: str = OMITTED
    organization: str | None = OMITTED
    hour: Time = OMITTED
    day: Time = OMITTED
    requests: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int


class Usage(Resource):
    since: Time = Field(alias="from")
    until: Time = Field(alias="to")
    group_by: GroupBy
    data: list[UsageRow]
    next_cursor: None = Field(description="Always null: all rows are on one page.")


@router.get("/usage", response=Usage, summary="Get usage", by_alias=True, exclude_unset=True)
def get_usage(request: ApiRequest, parameters: Query[UsageParameters]) -> Usage:
    """Sums requests and tokens of requests admitted in [from, to). A request is counted within 15 s of its end. Grouped
    by key or user, members see their own requests, and admins all requests of the organization."""
    since = _within_records(parameters.since or queries.get_month_start(request.now), request.now)
    until = _within_records(parameters.until or request.now, request.now)
    group_by = parameters.group_by
    condition = visible_usage(request.auth.actor, group_by.value)
    rows = queries.sum_usage(condition=condition, since=since, until=until, group_by=group_by.value)
    data: Any = _render_times(group_by, rows) if group_by not in FIND_NAMES else _render_groups(group_by, rows)
    return Usage.model_validate({"from": since, "to": until, "group_by": group_by, "data": data, "next_cursor": None})


def _within_records(time: datetime, now: datetime) -> datetime:
    """No request was counted before FIRST_RECORD, and none will have been after tomorrow."""
    return max(FIRST_RECORD, min(time, now + timedelta(days=1)))


def _render_times(group_by: GroupBy, rows: list[queries.UsageRow]) -> list[dict[str, Any]]:
    return [{group_by.value: row.group, **_sums(row)} for row in rows]


def _render_groups(group_by: GroupBy, rows: list[queries.UsageRow]) -> list[dict[str, Any]]:
    names = FIND_NAMES[group_by]([row.group for row in rows])
    return [
        {f"{group_by.value}_id": str(row.group), group_by.value: names.get(row.group), **_sums(row)} for row in rows
    ]


def _sums(row: queries.UsageRow) -> dict[str, int]:
    return {name: getattr(row, name) for name in queries.SUMS}
