"""Makes deployments due when a gateway asks for it or their cluster changes. One process is active at a time.

Threads collect ids; the main thread makes them due, several times a second. Any of this may be lost: the reconciler
passes over every deployment regularly, only later.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from django.core.management.base import BaseCommand
from django.db import connection
from django.utils import timezone

from accounts.redis_client import redis_client
from deployments.cluster_drivers import configured_drivers
from deployments.drivers.base import Driver, DriverError
from deployments.models import Cluster
from deployments.work_queue import make_due
from gateway import contract

log = logging.getLogger(__name__)
LOCK = 0x6D63_7761_7463_68  # "mcwatch"
STANDBY_SECONDS, FLUSH_SECONDS, NEW_CLUSTERS_SECONDS, RETRY_SECONDS = 1.0, 0.1, 30.0, 2.0


class Changes:
    """Ids of changed deployments; added by threads, taken by the main thread."""

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
        while not stop.is_set() and not _become_active():
            stop.wait(STANDBY_SECONDS)
        if not stop.is_set():
            _repeat("gateways", lambda: _read_gateway_wakeup(changes), stop)
            _run(changes, stop)


def _run(changes: Changes, stop: threading.Event) -> None:
    watched: set[str] = set()
    iteration = 0
    while not stop.is_set():
        if iteration % round(NEW_CLUSTERS_SECONDS / FLUSH_SECONDS) == 0:
            _watch_new(watched, changes, stop)
        if ids := changes.take():
            make_due((value for value in ids if _is_id(value)), timezone.now())  # noqa: TID251
        iteration += 1
        stop.wait(FLUSH_SECONDS)


def _become_active() -> bool:
    """Take the lock if it is free. It belongs to the connection, so it is released when this process dies."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
        return bool(cursor.fetchone()[0])


def _watch_new(watched: set[str], changes: Changes, stop: threading.Event) -> None:
    drivers = configured_drivers()
    for cluster in Cluster.objects.exclude(name__in=watched):
        watched.add(cluster.name)
        driver = drivers(cluster)
        _repeat(f"cluster {cluster.name}", _follow_cluster(driver, changes), stop)


def _follow_cluster(driver: Driver, changes: Changes) -> Callable[[], None]:
    def follow() -> None:
        for change in driver.watch():
            changes.add(change.deployment_id)

    return follow


def _read_gateway_wakeup(changes: Changes) -> None:
    item = redis_client().brpop([contract.WAKEUPS], timeout=1)
    if not item:
        return
    try:
        changes.add(contract.Wakeup.from_json(item[1]).deployment_id)
    except (ValueError, TypeError):
        log.warning("An invalid wakeup was ignored: %r", item[1][:200])


def _repeat(name: str, step: Callable[[], None], stop: threading.Event) -> None:
    """Repeat `step` in its own thread, and retry when its source is unavailable."""

    def run() -> None:
        while not stop.is_set():
            try:
                step()
            except (DriverError, redis.RedisError, OSError) as error:
                log.warning("Changes of %s are not followed, tried again soon: %s", name, error)
                stop.wait(RETRY_SECONDS)

    threading.Thread(target=run, name=name, daemon=True).start()


def _is_id(value: str) -> bool:
    """Whether a value from outside is formatted as an id."""
    return len(value) == 36 and value.count("-") == 4
