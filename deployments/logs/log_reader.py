"""Reads and follows the log lines of replicas.

    read_replica(replica, LogQuery(tail=500, since=…, until=…, text="error"))    lines of one replica
    read_deployment(deployment, LogQuery(…))                                     lines of all its replicas, by time
    Follower(deployment, replica_id, LogQuery(…)).poll()                         lines added since the last poll

Lines are ordered oldest first. A line without a time is ordered after the line before it. Every function may raise
`DriverError` when the cluster cannot answer, or not in time.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from operator import attrgetter
from uuid import UUID

from django.db.models import Max, Q, QuerySet

from deployments.cluster_drivers import DriverLookup, configured_drivers, limited_driver
from deployments.drivers.base import LogLine
from deployments.logs import stored_format
from deployments.logs.line_query import Line, LinePosition, LogQuery
from deployments.models import Deployment, Replica
from deployments.states import AT_REST, ENDED, LIVE

MAX_SCANNED_LINES = 200_000
EXTRA_LINES = 100  # read beyond the tail, for lines that `since` excludes
MAX_ENDED_REPLICAS = 100
LATEST = LogQuery()


def read_replica(replica: Replica, query: LogQuery = LATEST, drivers: DriverLookup | None = None) -> list[Line]:
    count = query.tail + EXTRA_LINES if query.needs_only_tail else MAX_SCANNED_LINES
    lines = _read_raw(replica, drivers or configured_drivers(), count, query.since)
    return list(deque(query.matches(_with_positions(replica, lines)), maxlen=query.tail))


def read_deployment(deployment: Deployment, query: LogQuery = LATEST) -> list[Line]:
    """Lines of all live replicas, and of the MAX_ENDED_REPLICAS that ended last."""
    drivers = configured_drivers()
    live = deployment.replicas.filter(state__in=LIVE).select_related("cluster")
    return _add_ended([read_replica(replica, query, drivers) for replica in live], deployment, query, drivers)


class Follower:
    """Follows the log of one replica of a deployment, or of all of them (`replica_id` None).

    `is_finished`: no more lines will come.
    """

    def __init__(self, deployment: Deployment, replica_id: UUID | None, query: LogQuery = LATEST) -> None:
        self.is_finished = False
        self._deployment, self._replica_id, self._query = deployment, replica_id, query
        self._positions: dict[UUID, LinePosition] = {}
        self._live: list[UUID] = []
        self._newest: datetime | None = None

    def poll(self) -> list[Line]:
        """The last lines at the first poll, then those added since the previous one."""
        is_first = self._newest is None
        newest = self._deployment.replicas.aggregate(newest=Max("created_at"))["newest"]
        replicas = list(self._select_replicas())
        positions = dict(self._positions)
        drivers = configured_drivers()
        added = [self._read_added(replica, drivers, positions) for replica in replicas]
        if is_first and self._replica_id is None:
            lines = _add_ended(added, self._deployment, self._query, drivers)
        else:
            lines = list(heapq.merge(*added, key=attrgetter("position")))
        self._positions, self._newest = positions, newest
        self._live = [replica.pk for replica in replicas if replica.state in LIVE]
        self.is_finished = not self._live and self._has_ended()
        return lines[-self._query.tail :] if is_first else lines

    def _select_replicas(self) -> QuerySet[Replica]:
        """Replicas that may have written lines since the last poll; at the first poll, the live ones."""
        rows = self._deployment.replicas.select_related("cluster")
        if self._replica_id:
            return rows.filter(pk=self._replica_id)
        is_new = Q(created_at__gt=self._newest) if self._newest else Q(pk__in=[])
        return rows.filter(Q(state__in=LIVE) | Q(pk__in=self._live) | is_new)

    def _read_added(self, replica: Replica, drivers: DriverLookup, positions: dict[UUID, LinePosition]) -> list[Line]:
        """Matching lines after the replica's position, which advances to the end of its log."""
        last = positions.get(replica.pk)
        count = MAX_SCANNED_LINES if last or not self._query.needs_only_tail else self._query.tail + EXTRA_LINES
        raw = _read_raw(replica, drivers, count, last.at if last else self._query.since)
        added = [(at, line) for at, line in _with_positions(replica, raw) if last is None or at > last]
        if added:
            positions[replica.pk] = added[-1][0]
        return list(self._query.matches(added))

    def _has_ended(self) -> bool:
        if self._replica_id:
            return True
        status = Deployment.objects.values_list("status", flat=True).get(pk=self._deployment.pk)
        return status in AT_REST


def _add_ended(live: list[list[Line]], deployment: Deployment, query: LogQuery, drivers: DriverLookup) -> list[Line]:
    """Lines of `live` and of ended replicas, the latest first, until there are `query.tail`."""
    lines = _merge(live, query.tail)
    for replica in _select_ended(deployment, query)[:MAX_ENDED_REPLICAS].iterator(chunk_size=5):
        if len(lines) >= query.tail and replica.released_at and lines[0].position.at > replica.released_at:
            break
        lines = _merge([lines, read_replica(replica, query, drivers)], query.tail)
    return lines


def _select_ended(deployment: Deployment, query: LogQuery) -> QuerySet[Replica]:
    """Ended replicas that may have matching lines, the latest first."""
    rows = deployment.replicas.defer(None).filter(state__in=ENDED).exclude(log_tail="").select_related("cluster")
    if query.since:
        rows = rows.filter(Q(released_at=None) | Q(released_at__gte=query.since))
    if query.until:
        rows = rows.filter(created_at__lt=query.until)
    if query.before:
        rows = rows.filter(created_at__lte=query.before.at)
    return rows.order_by("-released_at", "-pk")


def _read_raw(replica: Replica, drivers: DriverLookup, count: int, since: datetime | None) -> Iterable[LogLine]:
    """The last `count` lines that the cluster or the row has; the cluster may leave out those before `since`."""
    if replica.state not in ENDED:
        lines = list(limited_driver(replica.cluster, drivers).logs(replica.name, tail=count, since=since))
        if lines:
            return lines
        replica.refresh_from_db(fields=["log_tail"])  # it may have ended and been forgotten by its cluster just now
    return stored_format.unpack(replica.log_tail)[-count:]


def _with_positions(replica: Replica, lines: Iterable[LogLine]) -> Iterator[tuple[LinePosition, LogLine]]:
    at, number = replica.created_at, 0
    for index, line in enumerate(lines):
        if line.at and (line.at > at or index == 0):
            at, number = line.at, 0
        yield LinePosition(at, replica.pk, number), line
        number += 1


def _merge(lines: Iterable[Sequence[Line]], tail: int) -> list[Line]:
    return list(heapq.merge(*lines, key=attrgetter("position")))[-tail:]
