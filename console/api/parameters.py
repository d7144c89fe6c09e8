"""Query parameters: each says its JSON schema, for the OpenAPI document, and reads its text by the same rules."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

from django.http import QueryDict

from console.api import problems
from deployments.fields import FieldError

LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
DATE = "[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}"
TIME = (
    r"[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]"
    r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)


@dataclass(frozen=True)
class Parameter:
    """`read` returns the value, or raises ValueError with a sentence that says what to send."""

    name: str
    description: str
    default: Any = None

    def schema(self) -> dict[str, Any]:
        raise NotImplementedError

    def read(self, text: str) -> Any:
        raise NotImplementedError


@dataclass(frozen=True)
class Whole(Parameter):
    """A whole number within bounds."""

    lowest: int = 0
    highest: int = 0

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.lowest, "maximum": self.highest, "default": self.default}

    def read(self, text: str) -> int:
        if re.fullmatch(r"-?[0-9]{1,9}", text) and self.lowest <= int(text) <= self.highest:
            return int(text)
        raise ValueError(f"Send a whole number from {self.lowest} to {self.highest}.")


@dataclass(frozen=True)
class Choice(Parameter):
    """One of some words."""

    among: Sequence[str] = ()

    def schema(self) -> dict[str, Any]:
        rest = {} if self.default is None else {"default": self.default}
        return {"type": "string", "enum": list(self.among), **rest}

    def read(self, text: str) -> str:
        if text in self.among:
            return text
        raise ValueError(f"Send one of: {', '.join(self.among)}.")


@dataclass(frozen=True)
class Text(Parameter):
    """A string of a pattern, which must match as a whole."""

    pattern: str = ""
    message: str = ""

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{self.pattern}$"}

    def read(self, text: str) -> str:
        if re.fullmatch(self.pattern, text):
            return text
        raise ValueError(self.message)


@dataclass(frozen=True)
class Moment(Parameter):
    """A time as RFC 3339, or a date, which is its first moment in UTC."""

    def schema(self) -> dict[str, Any]:
        kinds = (("date-time", TIME), ("date", DATE))
        return {"anyOf": [{"type": "string", "format": kind, "pattern": f"^{pattern}$"} for kind, pattern in kinds]}

    def read(self, text: str) -> datetime:
        if re.fullmatch(DATE, text):
            try:
                return datetime.combine(date.fromisoformat(text), time(), UTC)
            except ValueError:
                raise ValueError("This day is not in the calendar.") from None
        return moment(text)


def moment(text: str) -> datetime:
    """An RFC 3339 time in UTC. Raises ValueError with a sentence. What ends beyond the calendar is LAST."""
    if not re.fullmatch(TIME, text):
        raise ValueError("Send a time with its zone, like 2026-11-21T09:30:00Z.")
    try:
        found = datetime.fromisoformat(text.upper())
    except ValueError:
        raise ValueError("This day is not in the calendar.") from None
    try:
        return found.astimezone(UTC)
    except OverflowError:
        return LAST


ORGANIZATION = Text(
    "organization",
    "Slug of the organization to work in. Operators may name any; for others only the key's own exists.",
    pattern="[-a-zA-Z0-9_]{1,63}",
    message="Send the slug of an organization.",
)
LIMIT = Whole("limit", "How many entries a page has at most.", default=50, lowest=1, highest=200)


def read(query: QueryDict, parameters: Sequence[Parameter]) -> Mapping[str, Any]:
    """Every declared parameter's value or default. Raises a 422 that names each bad one; unknown ones are ignored."""
    values: dict[str, Any] = {}
    errors: list[FieldError] = []
    for one in parameters:
        given = query.getlist(one.name)
        try:
            values[one.name] = _single(one, given)
        except ValueError as error:
            errors.append(FieldError(one.name, "invalid_parameter", str(error)))
    if errors:
        raise problems.invalid(errors)
    return values


def read_headers(headers: Mapping[str, str], parameters: Sequence[Parameter]) -> Mapping[str, Any]:
    """The same of request headers."""
    given = QueryDict(mutable=True)
    given.update({one.name: headers[one.name] for one in parameters if one.name in headers})
    return read(given, parameters)


def _single(parameter: Parameter, given: Sequence[str]) -> Any:
    if len(given) > 1:
        raise ValueError("Send this parameter once.")
    return parameter.read(given[0]) if given else parameter.default
