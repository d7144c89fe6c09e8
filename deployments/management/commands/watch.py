"""Turns hints of gateways and changes in clusters into work for the reconciler. One active copy at a time.

Threads only collect ids; the main thread turns them into hints, several times a second. Everything here may be lost:
the reconciler looks at every deployment by itself, only later.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import redis
from django.core.management.base import BaseCommand
from django.db import connection
from django.utils import timezone

from accounts.connections import redis_client
from deployments.clusters import configured_drivers
from deployments.drivers.base import Driver, DriverError
from deployments.models import Cluster
from deployments.routing.wakeups import make_due
from gateway import contract

log = logging.getLogger(__name__)
LOCK = 0x6D63_7761_7463_68  # "mcwatch"
TAKE_TURNS_SECONDS, FLUSH_SECONDS, NEW_CLUSTERS_SECONDS, RETRY_SECONDS = 1.0, 0.1, 30.0, 2.0


class Changes:
    """Ids of deployments that somebody should look at; filled by threads, emptied by the main thread."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._lock = threading.Lock()

    def add(self, deployment_id: str) -> None:
        with self._lock:
            self._ids.add(deployment_id)

    def take(self) -> set[str]:
        with self._lock:
            ids, self._ids = self._ids, set()
        return ids


class Command(BaseCommand):
    help = "Follow clusters and gateways, and wake the reconciler when something changes."

    def handle(self, *args: Any, **options: Any) -> None:
        stop, changes = threading.Event(), Changes()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        if ready := os.environ.get("CONSOLE_READY_FILE"):
            Path(ready).touch()
        while not stop.is_set() and not _is_my_turn():
            stop.wait(TAKE_TURNS_SECONDS)
        if not stop.is_set():
            _follow("gateways", lambda: _gateway_hints(changes), stop)
            _work(changes, stop)


def _work(changes: Changes, stop: threading.Event) -> None:
    watched: set[str] = set()
    rounds = 0
    while not stop.is_set():
        if rounds % round(NEW_CLUSTERS_SECONDS / FLUSH_SECONDS) == 0:
            _watch_new(watched, changes, stop)
        if ids := changes.take():
            make_due(_known(ids), timezone.now())  # noqa: TID251
        rounds += 1
        stop.wait(FLUSH_SECONDS)


def _is_my_turn() -> bool:
    """The lock belongs to the connection: when this process dies, another one's turn comes."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
        return bool(cursor.fetchone()[0])


def _watch_new(watched: set[str], changes: Changes, stop: threading.Event) -> None:
    drivers = configured_drivers()
    for cluster in Cluster.objects.exclude(name__in=watched):
        watched.add(cluster.name)
        driver = drivers(cluster)
        _follow(f"cluster {cluster.name}", _cluster_changes(driver, changes), stop)


def _cluster_changes(driver: Driver, changes: Changes) -> Callable[[], None]:
    def follow() -> None:
        for change in driver.watch():
            changes.add(change.deployment_id)

    return follow


def _gateway_hints(changes: Changes) -> None:
    found = redis_client().brpop([contract.HINTS], timeout=1)
    if not found:
        return
    try:
        changes.add(contract.Hint.from_json(found[1]).deployment_id)
    except (ValueError, TypeError):
        log.warning("A hint that is none was passed over: %r", found[1][:200])


def _follow(name: str, step: Callable[[], None], stop: threading.Event) -> None:
    """Repeat `step` in a thread of its own; a source that is away is asked again."""

    def run() -> None:
        while not stop.is_set():
            try:
                step()
            except (DriverError, redis.RedisError, OSError) as error:
                log.warning("Changes of %s are not followed for now: %s", name, error)
                stop.wait(RETRY_SECONDS)

    threading.Thread(target=run, name=name, daemon=True).start()


def _known(ids: Iterable[str]) -> list[str]:
    """Ids as they come from outside; what is no id is passed over."""
    return [one for one in ids if len(one) == 36 and one.count("-") == 4]
