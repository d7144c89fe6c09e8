"""Makes deployments due when a gateway asks for it or their cluster changes. One process is active at a time.

Threads collect ids; the main thread makes them due, several times a second. Any of this may be lost: the reconciler
passes over every deployment regularly, only later. When the database goes away, so does the lock: the process stands by
until it has the lock again, and the threads collect nothing meanwhile.
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
from django.db import InterfaceError, OperationalError, connection
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
PING_SECONDS = 1.0  # another copy may be active for so long before this one notices that it has lost the lock
MAX_STANDBY_SECONDS = 16.0


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
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        if ready := os.environ.get("CONSOLE_READY_FILE"):
            Path(ready).touch()
        Watch(stop).run()


class Watch:
    """Follows all sources in threads while it holds the lock; `run` is the main thread."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop, self._active, self._changes = stop, threading.Event(), Changes()
        self._followed: set[str] = set()

    def run(self) -> None:
        """Stand by for the lock, then flush until the database goes away; the pauses grow while it stays away."""
        pause, is_reported = STANDBY_SECONDS, False
        while not self._stop.is_set():
            try:
                if _take_lock():
                    if is_reported:
                        log.info("The database answers again.")
                    pause, is_reported = STANDBY_SECONDS, False
                    self._flush_until_stopped()
            except (OperationalError, InterfaceError) as error:
                self._active.clear()
                connection.close()
                if not is_reported:
                    log.warning("The database cannot be used, tried again until it can: %s", _first_line(error))
                    is_reported = True
                self._stop.wait(pause)
                pause = min(2 * pause, MAX_STANDBY_SECONDS)
            else:
                self._stop.wait(STANDBY_SECONDS)

    def _flush_until_stopped(self) -> None:
        self._active.set()
        self._follow("gateways", lambda: _read_gateway_wakeup(self._changes))
        iteration = 0
        while not self._stop.is_set():
            if iteration % round(NEW_CLUSTERS_SECONDS / FLUSH_SECONDS) == 0:
                self._follow_clusters()
            if iteration % round(PING_SECONDS / FLUSH_SECONDS) == 0:
                _ping()
            if ids := self._changes.take():
                make_due((value for value in ids if _is_id(value)), timezone.now())  # noqa: TID251
            iteration += 1
            self._stop.wait(FLUSH_SECONDS)

    def _follow_clusters(self) -> None:
        drivers = configured_drivers()
        for cluster in Cluster.objects.all():
            self._follow(f"cluster {cluster.name}", _follow_cluster(drivers(cluster), self._changes))

    def _follow(self, name: str, step: Callable[[], None]) -> None:
        """Repeat `step` in its own thread, unless that thread exists, and retry when it fails."""
        if name in self._followed:
            return
        self._followed.add(name)

        def run() -> None:
            while not self._stop.is_set():
                self._active.wait()
                try:
                    step()
                except (DriverError, redis.RedisError, OSError) as error:
                    log.warning("Changes of %s are not followed, tried again soon: %s", name, error)
                    self._stop.wait(RETRY_SECONDS)
                except Exception:
                    log.exception("Following the changes of %s broke, tried again soon", name)
                    self._stop.wait(RETRY_SECONDS)

        threading.Thread(target=run, name=name, daemon=True).start()


def _take_lock() -> bool:
    """Take the lock if it is free. It belongs to the connection, so it is released when this process dies."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
        return bool(cursor.fetchone()[0])


def _ping() -> None:
    """Raise OperationalError or InterfaceError when the connection, and the lock with it, is gone."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


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


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _is_id(value: str) -> bool:
    """Whether a value from outside is formatted as an id."""
    return len(value) == 36 and value.count("-") == 4
