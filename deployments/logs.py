"""The log lines of replicas: from the cluster while a replica lives, from its row once it has ended.

    read(replica, Wanted(tail=500, since=…, until=…, text="error"))    of one replica
    read_all(deployment, Wanted(…))                                    of all, in order of time
    Follower(deployment, replica_id, Wanted(…)).look()                 what has come since the last look

Lines come oldest first, cleaned of what is not text. A line without a time of its own stands where the line before it
does. All of it may raise `DriverError`: the cluster cannot say now.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db.models import Max, Q, QuerySet

from deployments import kept_log
from deployments.drivers.base import LogLine
from deployments.models import Deployment, Replica
from deployments.reconciler.observe import Drivers, configured_drivers
from deployments.states import ENDED, LIVE, DeploymentStatus

TAIL, MOST_LINES = 500, 5000
SCANNED = 200_000
OVERREAD = 100
MOST_ENDED = 100


class Place(NamedTuple):
    """Where a line stands among all lines of a deployment. `number` counts the lines of a replica with one time."""

    at: datetime
    replica_id: UUID
    number: int


@dataclass(frozen=True)
class Line:
    """`at` is None where the cluster knew no time."""

    place: Place
    at: datetime | None
    text: str

    @property
    def replica_id(self) -> UUID:
        return self.place.replica_id


@dataclass(frozen=True)
class Wanted:
    """The last `tail` of the lines in [since, until) that hold `text` in any case (no pattern: its characters stand
    for themselves) and that come before the line at `before`."""

    tail: int = TAIL
    since: datetime | None = None
    until: datetime | None = None
    text: str = ""
    before: Place | None = None

    @property
    def is_the_end(self) -> bool:
        """Whether the end of a log is enough to find them."""
        return self.until is None and self.before is None and not self.text

    def chosen(self, lines: Iterable[tuple[Place, LogLine]]) -> Iterator[Line]:
        """Those of the lines that are wanted, however many."""
        sought = kept_log.holding(self.text)
        for place, line in lines:
            in_time = (self.since is None or place.at >= self.since) and (self.until is None or place.at < self.until)
            if in_time and (self.before is None or place < self.before):
                text = kept_log.clean(line.text)
                if sought.search(text):
                    yield Line(place, line.at, text)


LAST = Wanted()


def read(replica: Replica, wanted: Wanted = LAST, drivers: Drivers | None = None) -> list[Line]:
    """Lines of one replica."""
    count = wanted.tail + OVERREAD if wanted.is_the_end else SCANNED
    lines = _raw(replica, drivers or configured_drivers(), count, wanted.since)
    return list(deque(wanted.chosen(_placed(replica, lines)), maxlen=wanted.tail))


def read_all(deployment: Deployment, wanted: Wanted = LAST) -> list[Line]:
    """Lines of all replicas of a deployment; of those that have ended, of the latest MOST_ENDED."""
    drivers = configured_drivers()
    live = deployment.replicas.filter(state__in=LIVE).select_related("cluster")
    return _with_ended([read(one, wanted, drivers) for one in live], deployment, wanted, drivers)


class Follower:
    """What is added to the log of one replica of a deployment, or of all of them (`replica_id` None)."""

    def __init__(self, deployment: Deployment, replica_id: UUID | None, wanted: Wanted = LAST) -> None:
        self.is_over = False
        self._deployment, self._only, self._wanted = deployment, replica_id, wanted
        self._latest: dict[UUID, Place] = {}
        self._open: list[UUID] = []
        self._newest: datetime | None = None

    def look(self) -> list[Line]:
        """The last lines at the first look, then those that have come since. `is_over`: nothing more will come."""
        newest = self._deployment.replicas.aggregate(newest=Max("created_at"))["newest"]
        rows = list(self._rows())
        latest = dict(self._latest)
        drivers = configured_drivers()
        found = [self._added(one, drivers, latest) for one in rows]
        if self._newest is None and self._only is None:
            lines = _with_ended(found, self._deployment, self._wanted, drivers)
        else:
            lines = list(heapq.merge(*found, key=_place))
        lines = lines[-self._wanted.tail :] if self._newest is None else lines
        self._latest, self._newest = latest, newest
        self._open = [one.pk for one in rows if one.state in LIVE]
        self.is_over = not self._open and self._has_ended()
        return lines

    def _rows(self) -> QuerySet[Replica]:
        """Replicas that may have said something since the last look; at the first one, those that live."""
        rows = self._deployment.replicas.select_related("cluster")
        if self._only:
            return rows.filter(pk=self._only)
        since = Q(created_at__gt=self._newest) if self._newest else Q(pk__in=[])
        return rows.filter(Q(state__in=LIVE) | Q(pk__in=self._open) | since)

    def _added(self, replica: Replica, drivers: Drivers, latest: dict[UUID, Place]) -> list[Line]:
        """Wanted lines of a replica behind its place in `latest`, which moves to its end."""
        before = latest.get(replica.pk)
        count = SCANNED if before or not self._wanted.is_the_end else self._wanted.tail + OVERREAD
        raw = _raw(replica, drivers, count, before.at if before else self._wanted.since)
        new = [(place, line) for place, line in _placed(replica, raw) if before is None or place > before]
        if new:
            latest[replica.pk] = new[-1][0]
        return list(self._wanted.chosen(new))

    def _has_ended(self) -> bool:
        if self._only:
            return True
        status = Deployment.objects.values_list("status", flat=True).get(pk=self._deployment.pk)
        return status in (DeploymentStatus.TERMINATED, DeploymentStatus.FAILED)


def _with_ended(live: list[list[Line]], deployment: Deployment, wanted: Wanted, drivers: Drivers) -> list[Line]:
    """The wanted lines of `live` and of what has ended, the latest first until there are enough."""
    lines = _merged(live, wanted.tail)
    for replica in _ended(deployment, wanted)[:MOST_ENDED].iterator(chunk_size=5):
        if len(lines) >= wanted.tail and replica.released_at and lines[0].place.at > replica.released_at:
            break
        lines = _merged([lines, read(replica, wanted, drivers)], wanted.tail)
    return lines


def _ended(deployment: Deployment, wanted: Wanted) -> QuerySet[Replica]:
    """Replicas that have ended and may hold wanted lines, the latest first."""
    rows = deployment.replicas.filter(state__in=ENDED).exclude(log_tail="").select_related("cluster")
    if wanted.since:
        rows = rows.filter(Q(released_at=None) | Q(released_at__gte=wanted.since))
    if wanted.until:
        rows = rows.filter(created_at__lt=wanted.until)
    if wanted.before:
        rows = rows.filter(created_at__lte=wanted.before.at)
    return rows.order_by("-released_at", "-pk")


def _raw(replica: Replica, drivers: Drivers, count: int, since: datetime | None) -> Iterable[LogLine]:
    """The last `count` lines as the cluster or the row has them; about from `since` on."""
    if replica.state not in ENDED:
        lines = list(drivers(replica.cluster).logs(replica.name, follow=False, tail=count, since=since))
        if lines:
            return lines
        replica.refresh_from_db(fields=["log_tail"])  # it may have ended and been forgotten by its cluster just now
    return kept_log.unpack(replica.log_tail)[-count:]


def _placed(replica: Replica, lines: Iterable[LogLine]) -> Iterator[tuple[Place, LogLine]]:
    at, number = replica.created_at, 0
    for index, line in enumerate(lines):
        if line.at and (line.at > at or index == 0):
            at, number = line.at, 0
        yield Place(at, replica.pk, number), line
        number += 1


def _merged(lines: Iterable[Sequence[Line]], tail: int) -> list[Line]:
    return list(heapq.merge(*lines, key=_place))[-tail:]


def _place(line: Line) -> Place:
    return line.place
