"""Types of parameters, bodies and resources: each validates its input and states its own JSON schema.

A validator raises `PydanticCustomError(code, message)`: the code of the problem's entry, and what to send instead.
"""

import re
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, NoReturn

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from deployments.schema.types import Matching as Matching

LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
DATE = "[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}"
TIME = (
    r"[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]"
    r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)


class Resource(BaseModel):
    """What the API answers. Every field is always there."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)


class RequestBody(BaseModel):
    """What clients send. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


def _refuse(code: str, message: str) -> NoReturn:
    raise PydanticCustomError(code, "{message}", {"message": message})


def _read_digits(text: str) -> str:
    if not re.fullmatch("-?[0-9]{1,9}", text):
        _refuse("wrong_type", "Send a whole number.")
    return text


def _read_flag(text: str | bool) -> bool:
    if isinstance(text, bool):
        return text
    if text not in ("true", "false"):
        _refuse("wrong_type", "Send true or false.")
    return text == "true"


def _refuse_boolean_or_text(value: Any) -> Any:
    """JSON integers may come as `1.0`; pydantic would take "1" and true too."""
    if isinstance(value, bool | str):
        _refuse("wrong_type", "Send a whole number here.")
    return value


def read_time(value: Any) -> datetime:
    """An RFC 3339 time in UTC. What ends beyond the calendar is LAST."""
    if not isinstance(value, str):
        _refuse("wrong_type", "Send a string here.")
    if not re.fullmatch(TIME, value):
        _refuse("invalid_time", "Send a time with its zone, like 2026-11-21T09:30:00Z.")
    try:
        found = datetime.fromisoformat(value.upper())
    except ValueError:
        _refuse("invalid_time", "This day is not in the calendar.")
    try:
        return found.astimezone(UTC)
    except OverflowError:
        return LAST


def _read_moment(text: str) -> datetime:
    if not re.fullmatch(DATE, text):
        return read_time(text)
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError:
        _refuse("invalid_time", "This day is not in the calendar.")


def format_time(value: datetime) -> str:
    """RFC 3339 with `Z`."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


_DATE_TIME = {"type": "string", "format": "date-time"}

# Annotate with bounds in front (`Annotated[int, Field(ge=1), DIGITS]`), or they are missing in the document.
DIGITS = BeforeValidator(_read_digits)
WHOLE_NUMBER = BeforeValidator(_refuse_boolean_or_text)
Flag = Annotated[bool, BeforeValidator(_read_flag)]
Time = Annotated[datetime, PlainSerializer(format_time, return_type=str), WithJsonSchema(_DATE_TIME)]
TimeInBody = Annotated[datetime, BeforeValidator(read_time), WithJsonSchema(_DATE_TIME | {"pattern": f"^{TIME}$"})]
Moment = Annotated[
    datetime,
    BeforeValidator(_read_moment),
    WithJsonSchema({"anyOf": [_DATE_TIME | {"pattern": f"^{TIME}$"},
                              {"type": "string", "format": "date", "pattern": f"^{DATE}$"}]}),
]  # fmt: skip
"""A time as RFC 3339, or a date, which is its first moment in UTC."""
SearchText = Annotated[str, Matching(r"[^\x00-\x1f\x7f]{1,200}", "Send 1 to 200 printable characters.")]
