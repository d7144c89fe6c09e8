"""Lists as {"data": […], "next_cursor": …}: a cursor is the place of the last row in a fixed order, so rows that are
added meanwhile neither repeat nor hide one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from django.db.models import Model, Q, QuerySet

from console.api.parameters import LIMIT, Parameter, Text

Row = TypeVar("Row", bound=Model)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
BAD_CURSOR = "Send next_cursor of an earlier page of this list as it is, or leave it out."


@dataclass(frozen=True)
class Order:
    """An order of rows that has no ties; `pattern` is what its cursors look like, and everything like it is one."""

    fields: tuple[str, ...]
    pattern: str
    cursor_of: Callable[[Any], str]
    after: Callable[[str], Q]

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        description = "Where to go on: next_cursor of the page before."
        return LIMIT, Text("cursor", description, pattern=self.pattern, message=BAD_CURSOR)


@dataclass(frozen=True)
class Page(Generic[Row]):
    rows: Sequence[Row]
    next_cursor: str | None

    def of(self, data: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The answer with `data` in place of the rows."""
        return {"data": list(data), "next_cursor": self.next_cursor}


def read(rows: QuerySet[Row], order: Order, query: Mapping[str, Any]) -> Page[Row]:
    """One page of `rows`, by the parameters `limit` and `cursor`."""
    limit, cursor = query["limit"], query["cursor"]
    if cursor is not None:
        rows = rows.filter(order.after(cursor))
    found = list(rows.order_by(*order.fields)[: limit + 1])
    more = len(found) > limit
    return Page(found[:limit], order.cursor_of(found[limit - 1]) if more else None)


def _newest_cursor(row: Any) -> str:
    return f"{(row.created_at - EPOCH) // MICROSECOND:014x}{row.pk.hex}"


def _before(cursor: str) -> Q:
    at, pk = EPOCH + int(cursor[:14], 16) * MICROSECOND, uuid.UUID(hex=cursor[14:])
    return Q(created_at__lt=at) | Q(created_at=at, pk__lt=pk)


NEWEST = Order(("-created_at", "-pk"), "[0-9a-f]{46}", _newest_cursor, _before)
LATEST = Order(("-pk",), "[0-9a-f]{15}", lambda row: f"{row.pk:015x}", lambda cursor: Q(pk__lt=int(cursor, 16)))
BY_ID = Order(("pk",), "[A-Za-z0-9._-]{1,80}", lambda row: str(row.pk), lambda cursor: Q(pk__gt=cursor))
BY_NAME = Order(("name",), "[A-Za-z0-9._-]{1,80}", lambda row: str(row.name), lambda cursor: Q(name__gt=cursor))
BY_NUMBER = Order(
    ("-number",), "[0-9a-f]{8}", lambda row: f"{row.number:08x}", lambda cursor: Q(number__lt=int(cursor, 16))
)
