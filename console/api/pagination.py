"""Lists as {"data": […], "next_cursor": …}: a cursor is the place of the last row in a fixed order, so rows that are
added meanwhile neither repeat nor hide one.

Each class of parameters is one order without ties. A handler takes it as `page: Query[NewestFirst]` and reads its rows
with `page.read(rows)`.
"""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, TypeVar

from django.db.models import Model, Q, QuerySet
from pydantic import BaseModel, Field

from console.api.field_types import DIGITS, Matching, Resource

Table = TypeVar("Table", bound=Model)
Row = TypeVar("Row")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
ABOUT_CURSOR = "The next_cursor of the previous page."
BAD_CURSOR = "Send the next_cursor of an earlier page of this list unchanged, or omit cursor."
NAME_CURSOR = Matching("[A-Za-z0-9._-]{1,80}", BAD_CURSOR)


class Page(Resource):
    """One page of a list; a subclass adds `data`."""

    next_cursor: str | None = Field(description="Send it as cursor to get the next page; null on the last page.")


class PageParameters(BaseModel):
    """`limit` and `cursor` of a list; subclasses fix the order of its rows and what a cursor looks like."""

    ordering: ClassVar[tuple[str, ...]]

    limit: Annotated[int, Field(ge=1, le=200, description="Maximum number of entries per page."), DIGITS] = 50
    cursor: str | None = None

    def cursor_of(self, row: Any) -> str:
        raise NotImplementedError

    def rows_after(self, cursor: str) -> Q:
        raise NotImplementedError

    def read(self, rows: QuerySet[Table, Row]) -> tuple[Sequence[Row], str | None]:
        """The rows of the page and `next_cursor`."""
        if self.cursor is not None:
            rows = rows.filter(self.rows_after(self.cursor))
        found = list(rows.order_by(*self.ordering)[: self.limit + 1])
        is_last = len(found) <= self.limit
        return found[: self.limit], None if is_last else self.cursor_of(found[self.limit - 1])


class NewestFirst(PageParameters):
    """By creation, then by id, both descending."""

    ordering = ("-created_at", "-pk")
    cursor: Annotated[str, Matching("[0-9a-f]{46}", BAD_CURSOR)] | None = Field(None, description=ABOUT_CURSOR)

    def cursor_of(self, row: Any) -> str:
        return f"{(row.created_at - EPOCH) // MICROSECOND:014x}{row.pk.hex}"

    def rows_after(self, cursor: str) -> Q:
        created_at, pk = EPOCH + int(cursor[:14], 16) * MICROSECOND, uuid.UUID(hex=cursor[14:])
        return Q(created_at__lt=created_at) | Q(created_at=created_at, pk__lt=pk)


class LatestFirst(PageParameters):
    """By a numeric id, descending."""

    ordering = ("-pk",)
    cursor: Annotated[str, Matching("[0-9a-f]{15}", BAD_CURSOR)] | None = Field(None, description=ABOUT_CURSOR)

    def cursor_of(self, row: Any) -> str:
        return f"{row.pk:015x}"

    def rows_after(self, cursor: str) -> Q:
        return Q(pk__lt=int(cursor, 16))


class HighestNumberFirst(PageParameters):
    ordering = ("-number",)
    cursor: Annotated[str, Matching("[0-9a-f]{8}", BAD_CURSOR)] | None = Field(None, description=ABOUT_CURSOR)

    def cursor_of(self, row: Any) -> str:
        return f"{row.number:08x}"

    def rows_after(self, cursor: str) -> Q:
        return Q(number__lt=int(cursor, 16))


class ById(PageParameters):
    """By a textual id, ascending."""

    ordering = ("pk",)
    cursor: Annotated[str, NAME_CURSOR] | None = Field(None, description=ABOUT_CURSOR)

    def cursor_of(self, row: Any) -> str:
        return str(row.pk)

    def rows_after(self, cursor: str) -> Q:
        return Q(pk__gt=cursor)


class ByName(PageParameters):
    ordering = ("name",)
    cursor: Annotated[str, NAME_CURSOR] | None = Field(None, description=ABOUT_CURSOR)

    def cursor_of(self, row: Any) -> str:
        return str(row.name)

    def rows_after(self, cursor: str) -> Q:
        return Q(name__gt=cursor)
