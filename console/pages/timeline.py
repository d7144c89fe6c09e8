"""What happened to a deployment, newest first: as lines with their reasons, page by page, and by kind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from urllib.parse import urlencode

from django.http import QueryDict

from console.components.formats import format_moment
from console.pages import changes, scaling
from deployments.events import Kind
from deployments.models import Deployment, DeploymentEvent

PER_PAGE = 50
LOOKS: dict[str, tuple[str, str]] = {
    Kind.CREATED: ("plus", ""),
    Kind.EDITED: ("edit", ""),
    Kind.ROLLED_BACK: ("undo", ""),
    Kind.RETRIED: ("refresh", ""),
    Kind.REDEPLOYED: ("refresh", ""),
    Kind.TERMINATE_REQUESTED: ("stop", "gone"),
    Kind.TERMINATED: ("status-terminated", "gone"),
    Kind.DELETED: ("remove", "gone"),
    Kind.ROLLOUT_STARTED: ("status-rolling", "moving"),
    Kind.ROLLOUT_HELD: ("status-rolling", "waiting"),
    Kind.ROLLOUT_DONE: ("check", "good"),
    Kind.ROLLED_BACK_BY_ITSELF: ("undo", "bad"),
    Kind.FAILED: ("status-failed", "bad"),
    Kind.SCALED: ("status-scaling", "moving"),
    Kind.FELL_ASLEEP: ("status-sleeping", "resting"),
    Kind.WOKEN: ("sun", "moving"),
    Kind.PENDING: ("status-pending", "waiting"),
    Kind.REPLICA_REQUESTED: ("gpu", "moving"),
    Kind.REPLICA_REPLACED: ("refresh", "moving"),
    Kind.REPLICA_DOWNLOADING: ("down", "moving"),
    Kind.REPLICA_INITIALIZING: ("status-deploying", "moving"),
    Kind.REPLICA_READY: ("check", "good"),
    Kind.REPLICA_UNHEALTHY: ("warning", "waiting"),
    Kind.REPLICA_HEALTHY: ("check", "good"),
    Kind.REPLICA_DRAINING: ("status-terminating", "gone"),
    Kind.REPLICA_RESUMED: ("undo", "good"),
    Kind.REPLICA_STOPPED: ("status-terminated", "gone"),
    Kind.REPLICA_FAILED: ("warning", "bad"),
}
BY_PEOPLE = (Kind.CREATED, Kind.EDITED, Kind.ROLLED_BACK, Kind.ROLLED_BACK_BY_ITSELF, Kind.RETRIED, Kind.REDEPLOYED)
ENDS = (Kind.TERMINATE_REQUESTED, Kind.TERMINATED, Kind.DELETED)
ROLLOUTS = (Kind.ROLLOUT_STARTED, Kind.ROLLOUT_HELD, Kind.ROLLOUT_DONE)
GROUPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "": ("All", ()),
    "changes": ("Changes", (*BY_PEOPLE, *ROLLOUTS, *ENDS, Kind.FAILED)),
    "scaling": ("Scaling", (Kind.SCALED, Kind.FELL_ASLEEP, Kind.WOKEN, Kind.PENDING)),
    "replicas": ("Replicas", tuple(kind for kind in LOOKS if kind.startswith("replica_"))),
}
CHANGE_LOG = (*BY_PEOPLE, *ENDS)


@dataclass(frozen=True)
class EventLine:
    """One entry of the timeline."""

    event: DeploymentEvent
    icon: str
    tone: str
    when: str

    @property
    def cause(self) -> dict[str, str]:
        return self.event.data.get("cause") or {}

    @property
    def evidence(self) -> str:
        return str(self.cause.get("evidence", ""))

    @cached_property
    def changes(self) -> tuple[changes.ChangeLine, ...]:
        return changes.lines(self.event.data.get("changes") or ())

    @cached_property
    def terms(self) -> tuple[scaling.Term, ...]:
        return scaling.terms(self.event.data) if self.event.kind == Kind.SCALED else ()

    @property
    def title(self) -> str:
        """The summary; where the changes are listed below it, without them."""
        number, by = self.revision, self.event.actor
        match self.event.kind:
            case Kind.EDITED if self.changes:
                return f"{by} made revision {number}" if number else f"{by} changed this at once, nothing restarted"
            case Kind.ROLLED_BACK if self.changes:
                return f"{by} rolled back to revision {self.event.data.get('restores')}, as revision {number}"
        return self.event.summary

    @property
    def reason(self) -> str:
        """Why it scaled: the summary without the numbers, which stand before it."""
        return self.event.summary.partition(": ")[2] or self.event.summary

    @property
    def revision(self) -> int | None:
        """The revision that a change made."""
        number: int | None = self.event.data.get("revision")
        return number


def lines(events: Iterable[DeploymentEvent], now: datetime) -> list[EventLine]:
    return [EventLine(one, *LOOKS.get(one.kind, ("info", "")), format_moment(one.at, now)) for one in events]


@dataclass(frozen=True)
class Wanted:
    """Which events an address asks for: `group` is a key of GROUPS; `before` an event's id, those older than it."""

    group: str = ""
    before: int | None = None

    @staticmethod
    def read(parameters: QueryDict) -> Wanted:
        """Leniently: what is unknown is left out."""
        group, before = parameters.get("kind", ""), parameters.get("before", "")
        is_id = before.isascii() and before.isdecimal() and len(before) < 19
        return Wanted(group if group in GROUPS else "", int(before) if is_id else None)

    def address(self, **changed: str | int) -> str:
        """The query string of this view with something changed; another kind starts with its newest."""
        values = {"kind": self.group} | {name: str(value) for name, value in changed.items()}
        query = urlencode({name: value for name, value in values.items() if value})
        return f"?{query}" if query else ""


class EventPage:
    """A page of events of `kinds` (none: all), newest first. Two queries."""

    def __init__(self, deployment: Deployment, wanted: Wanted, now: datetime, kinds: tuple[str, ...] = ()) -> None:
        self.wanted, self.now = wanted, now
        rows = deployment.events.filter(kind__in=kinds) if kinds else deployment.events.all()
        self._rows = rows.filter(pk__lt=wanted.before) if wanted.before is not None else rows

    @cached_property
    def _found(self) -> list[DeploymentEvent]:
        return list(self._rows[: PER_PAGE + 1])

    @cached_property
    def lines(self) -> list[EventLine]:
        return lines(self._found[:PER_PAGE], self.now)

    @property
    def is_first(self) -> bool:
        return self.wanted.before is None

    @property
    def older(self) -> str:
        """The address of the next page, empty on the last."""
        return self.wanted.address(before=self._found[PER_PAGE - 1].pk) if len(self._found) > PER_PAGE else ""

    @property
    def newest(self) -> str:
        return self.wanted.address()

    @property
    def groups(self) -> list[tuple[str, str, bool]]:
        """(title, address, whether it is this one) of every kind."""
        return [(title, Wanted(group).address(), group == self.wanted.group) for group, (title, _) in GROUPS.items()]


def event_page(deployment: Deployment, wanted: Wanted, now: datetime) -> EventPage:
    """All events of the wanted group."""
    return EventPage(deployment, wanted, now, GROUPS[wanted.group][1])


def change_log(deployment: Deployment, wanted: Wanted, now: datetime) -> EventPage:
    """What people changed, and what the console rolled back by itself."""
    return EventPage(deployment, wanted, now, CHANGE_LOG)
