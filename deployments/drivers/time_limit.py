"""Calls to a cluster with a time limit, so that a cluster that hangs holds up nothing else.

A call runs in a thread of its own. One that exceeds its limit raises a retryable `DriverError`, and until it returns
every further call to the same cluster fails at once: a hung cluster costs one limit, and a thread for each caller that
waited when it began to hang. A listing that returns late is not lost: the next `observe` takes it, with the time at
which it was made.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as CallTimeout
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from deployments.codes import ClusterProblem
from deployments.drivers.base import Driver, DriverError, LogLine, Observation, ObservedReplica, ReplicaSpec

LATE_LISTING_SECONDS = 60.0
Result = TypeVar("Result")


@dataclass
class _Cluster:
    """The unfinished calls of this process to one cluster."""

    listing: Future[Observation] | None = None
    listing_began: float = 0.0
    overdue: list[tuple[str, Future[Any]]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)  # logs are read by several threads

    def find_overdue(self) -> str:
        with self.lock:
            self.overdue = [(name, call) for name, call in self.overdue if not call.done()]
            return self.overdue[0][0] if self.overdue else ""

    def add_overdue(self, name: str, call: Future[Any]) -> None:
        with self.lock:
            if all(other is not call for _, other in self.overdue):
                self.overdue.append((name, call))


_clusters: dict[Hashable, _Cluster] = defaultdict(_Cluster)
_clusters_lock = threading.Lock()


class TimeLimitedDriver:
    """The calls of a pass, and the reading of logs. `cluster`: the same for all drivers of one cluster."""

    def __init__(self, driver: Driver, cluster: Hashable, seconds: float) -> None:
        self._driver, self._seconds = driver, seconds
        with _clusters_lock:
            self._cluster = _clusters[cluster]
        self.staleness_seconds = driver.staleness_seconds

    def begin_listing(self) -> None:
        """Start the listing that the next `observe` returns, unless one is under way or another call is overdue."""
        cluster = self._cluster
        is_too_old = time.monotonic() - cluster.listing_began > LATE_LISTING_SECONDS
        is_needed = cluster.listing is None or (cluster.listing.done() and is_too_old)
        if is_needed and not cluster.find_overdue():
            cluster.listing, cluster.listing_began = _run("observe", self._driver.observe), time.monotonic()

    def observe(self) -> Observation:
        self.begin_listing()
        listing = self._cluster.listing
        if listing is None:
            raise self._overdue_error("observe")
        left = self._seconds - (time.monotonic() - self._cluster.listing_began)
        try:
            return self._wait("observe", listing, max(0.0, left))
        finally:
            if listing.done():
                self._cluster.listing = None

    def find(self, name: str) -> ObservedReplica | None:
        return self._call("find", lambda: self._driver.find(name))

    def start(self, spec: ReplicaSpec) -> None:
        self._call("start", lambda: self._driver.start(spec))

    def stop(self, name: str, grace_seconds: float) -> None:
        self._call("stop", lambda: self._driver.stop(name, grace_seconds))

    def forget(self, name: str) -> None:
        self._call("forget", lambda: self._driver.forget(name))

    def logs(self, name: str, *, tail: int, since: datetime | None = None) -> Iterator[LogLine]:
        """The last lines."""
        return iter(self._call("logs", lambda: list(self._driver.logs(name, follow=False, tail=tail, since=since))))

    def _call(self, name: str, call: Callable[[], Result]) -> Result:
        if self._cluster.find_overdue():
            raise self._overdue_error(name)
        return self._wait(name, _run(name, call), self._seconds)

    def _overdue_error(self, name: str) -> DriverError:
        overdue = self._cluster.find_overdue()
        return _no_answer(f"Not called ({name}): an earlier call ({overdue}) has not returned.")

    def _wait(self, name: str, call: Future[Result], seconds: float) -> Result:
        try:
            return call.result(seconds)
        except CallTimeout:
            if call.done():
                return call.result()  # it ended just now, or the driver's own time ran out
            self._cluster.add_overdue(name, call)
            raise _no_answer(f"No answer to {name} within {self._seconds:g} s.") from None


def _no_answer(message: str) -> DriverError:
    return DriverError(message, retryable=True, problem=ClusterProblem.NO_ANSWER)


def _run(name: str, call: Callable[[], Result]) -> Future[Result]:
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 (raised where the call is waited for)
            future.set_exception(error)

    threading.Thread(target=run, name=f"cluster {name}", daemon=True).start()
    return future
