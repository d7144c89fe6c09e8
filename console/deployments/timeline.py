"""Events of a deployment as lines of a timeline, newest first, and pages of them by kind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from django import forms

from console.components.filters import FilterForm
from console.components.formats import format_moment
from console.deployments.configuration_diff import DiffLine, make_diff_lines
from console.deployments.scaling_decision import Term, explain_decision
from deployments.events import Kind
from deployments.messages import describe_reason, title_event
from deployments.models import Deployment, DeploymentEvent

PER_PAGE = 50
# Icon and tone by kind.
APPEARANCE: dict[str, tuple[str, str]] = {
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
    Kind.REPLICA_UNKNOWN: ("warning", "bad"),
    Kind.REPLICA_FOUND: ("undo", "good"),
    Kind.REPLICA_DECLARED_GONE: ("stop", "gone"),
    Kind.REPLICA_STOPPED: ("status-terminated", "gone"),
    Kind.REPLICA_FAILED: ("warning", "bad"),
}
CONFIGURATION = (Kind.CREATED, Kind.EDITED, Kind.ROLLED_BACK, Kind.ROLLED_BACK_BY_ITSELF, Kind.RETRIED, Kind.REDEPLOYED)
ENDS = (Kind.TERMINATE_REQUESTED, Kind.TERMINATED, Kind.DELETED)
ROLLOUTS = (Kind.ROLLOUT_STARTED, Kind.ROLLOUT_HELD, Kind.ROLLOUT_DONE)
# Title and kinds (none: all) by the value of `?kind=`.
GROUPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "": ("All", ()),
    "changes": ("Changes", (*CONFIGURATION, *ROLLOUTS, *ENDS, Kind.FAILED)),
    "scaling": ("Scaling", (Kind.SCALED, Kind.FELL_ASLEEP, Kind.WOKEN, Kind.PENDING)),
    "replicas": ("Replicas", tuple(kind for kind in APPEARANCE if kind.startswith("replica_"))),
}
CHANGE_LOG = (*CONFIGURATION, *ENDS)


@dataclass(frozen=True)
class EventLine:
    """One event; `diff` lists the changes of an edit, `terms` the numbers behind a scaling decision."""

    event: DeploymentEvent
    title: str
    icon: str
    tone: str
    when: str
    diff: tuple[DiffLine, ...]
    terms: tuple[Term, ...]

    @property
    def evidence(self) -> str:
        cause = self.event.facts.get("cause")
        return describe_reason(cause).evidence if cause else ""


def make_event_lines(events: Iterable[DeploymentEvent], now: datetime) -> list[EventLine]:
    return [_make_line(event, now) for event in events]


def _make_line(event: DeploymentEvent, now: datetime) -> EventLine:
    """Where the changes are listed below it, the title leaves them out."""
    diff = make_diff_lines(event.facts.get("changes") or ())
    title = title_event(event.kind, event.actor, event.facts) if diff else event.summary
    icon, tone = APPEARANCE.get(event.kind, ("info", ""))
    terms = explain_decision(event.facts) if event.kind == Kind.SCALED else ()
    return EventLine(event, title, icon, tone, format_moment(event.at, now), diff, terms)


@dataclass(frozen=True)
class EventFilters:
    """`kind` is a key of GROUPS; `before` the id of an event, for those older than it."""

    kind: str = ""
    before: int | None = None

    def address(self, **changes: str | int) -> str:
        """The query string of this view with some parameters changed; it starts with the newest events."""
        values = {"kind": self.kind} | {name: str(value) for name, value in changes.items()}
        query = urlencode({name: value for name, value in values.items() if value})
        return f"?{query}" if query else ""


class EventFilterForm(FilterForm):
    kind = forms.ChoiceField(choices=[(kind, title) for kind, (title, _) in GROUPS.items()], required=False, initial="")
    before = forms.IntegerField(min_value=0, max_value=2**63 - 1, required=False)


@dataclass(frozen=True)
class EventPage:
    """One page of events, newest first. `older` is the address of the next page, empty on the last."""

    filters: EventFilters
    lines: list[EventLine]
    older: str

    @property
    def is_newest(self) -> bool:
        return self.filters.before is None

    @property
    def newest(self) -> str:
        return self.filters.address()

    @property
    def groups(self) -> list[tuple[str, str, bool]]:
        """(title, address, whether it is this one) of every group."""
        return [(title, EventFilters(kind).address(), kind == self.filters.kind) for kind, (title, _) in GROUPS.items()]


def read_event_page(deployment: Deployment, filters: EventFilters, kinds: Sequence[str], now: datetime) -> EventPage:
    """A page of the events of `kinds` (none: all). One query."""
    events = deployment.events.filter(kind__in=kinds) if kinds else deployment.events.all()
    if filters.before is not None:
        events = events.filter(pk__lt=filters.before)
    found = list(events[: PER_PAGE + 1])
    older = filters.address(before=found[PER_PAGE - 1].pk) if len(found) > PER_PAGE else ""
    return EventPage(filters, make_event_lines(found[:PER_PAGE], now), older)
