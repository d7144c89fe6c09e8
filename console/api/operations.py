"""What an address of the API is made of: operations as values, from which routes, checks and document follow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from accounts.roles import Scope
from console.api.auth import Caller
from console.api.parameters import ORGANIZATION, Parameter

MERGE_PATCH = "application/merge-patch+json"


@dataclass(frozen=True)
class Call:
    """A request after all checks that need no knowledge of the operation: key, scope, parameters, JSON."""

    caller: Caller
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Any
    now: datetime
    headers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """`data` is JSON; None means an empty body. A `stream` is server-sent events instead."""

    status: int
    data: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: AsyncIterator[bytes] | None = None


@dataclass(frozen=True)
class Operation:
    """One method of one path. `answers` maps statuses to (description, name of a schema or None); `body` names the
    schema of a body, `conflicts` the kinds of 409; `is_guarded`: it honours If-Match; `streamed` says what a stream of
    server-sent events holds, for operations that may answer with one."""

    method: str
    path: str
    id: str
    tag: str
    summary: str
    perform: Callable[[Call], Answer]
    answers: Mapping[int, tuple[str, str | None]]
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: str | None = None
    body_required: bool = True
    is_guarded: bool = False
    conflicts: tuple[str, ...] = ()
    headers: tuple[Parameter, ...] = ()
    streamed: str = ""

    @property
    def scope(self) -> Scope:
        return Scope.READ if self.method == "GET" else Scope.MANAGE

    @property
    def all_parameters(self) -> tuple[Parameter, ...]:
        return (*self.parameters, ORGANIZATION)

    @property
    def media_types(self) -> tuple[str, ...]:
        """What its body may be sent as."""
        return ("application/json", MERGE_PATCH) if self.method == "PATCH" else ("application/json",)

    @property
    def is_repeatable(self) -> bool:
        """Whether it honours Idempotency-Key."""
        return self.method == "POST"


def utc(time: datetime | None) -> str | None:
    """RFC 3339 with `Z`."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z") if time else None
