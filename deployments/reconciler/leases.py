"""Which worker works on what: a token and an expiry on the deployment's work item, and the time of a cluster's last
sweep.

The fence is the lock on the deployment's row, which passes and services take first. A pass that lost its lease writes
nothing and calls nothing: every transaction begins with `lock_held`, which locks the rows and then reads which of them
still carry the token. A lease is taken over only while no transaction holds the row.

A lease ends at its expiry, or with the database session of its pass, which holds an advisory lock on the token: a lease
whose token nobody holds belongs to a worker that was killed, or to a pass that was interrupted, and is taken over at
once. The lock only makes that sooner; it protects nothing.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models import Case, DateTimeField, F, Q, QuerySet, Value, When

from deployments.models import Cluster, Deployment, WorkItem
from deployments.reconciler.backoff import pass_delay_seconds


@dataclass(frozen=True)
class Lease:
    """One token for a whole batch, for `seconds` from when it was granted."""

    token: uuid.UUID
    expires_at: datetime
    deployment_ids: tuple[uuid.UUID, ...]
    seconds: float
    granted: float = field(default_factory=time.monotonic)

    def has_spent(self, share: float) -> bool:
        """Whether this share of its time has passed."""
        return time.monotonic() - self.granted >= share * self.seconds


@dataclass(frozen=True)
class Due:
    """When a deployment is due again, and when its cluster was last observed and its load last known."""

    next_due_at: datetime | None
    observed_at: datetime | None
    load_known_at: datetime | None = None


@transaction.atomic
def claim(now: datetime, *, limit: int, seconds: float) -> Lease:
    """Lease up to `limit` due deployments, the longest due first. They are due again when the lease expires, or ends
    with its session. `unlock` it after the pass.

    A deployment whose last pass broke gets a pass of its own, so that it does not break the pass of others again.
    """
    is_free = Q(lease_expires_at=None) | Q(lease_expires_at__lte=now)
    is_due = (is_free & Q(next_due_at__lte=now)) | Q(lease_token__in=_find_abandoned(now))
    due = WorkItem.objects.filter(is_due).order_by("next_due_at")
    rows = list(due.select_for_update(skip_locked=True).values_list("pk", "lease_token", "failures")[:limit])
    if ended := [pk for pk, token, _ in rows if token is not None]:
        # A transaction of the pass whose lease has ended may be under way: those rows are left to it.
        free = Deployment.objects.filter(pk__in=ended).select_for_update(skip_locked=True)
        locked = set(free.values_list("pk", flat=True))
        rows = [(pk, token, failures) for pk, token, failures in rows if token is None or pk in locked]
    failing_first = bool(rows and rows[0][2])
    ids = [rows[0][0]] if failing_first else [pk for pk, _, failures in rows if not failures]
    return _grant(ids, now, seconds, due_again=now + timedelta(seconds=seconds))


@transaction.atomic
def seize(ids: Iterable[uuid.UUID], now: datetime, *, seconds: float) -> Lease:
    """Lease these deployments even if another pass holds them: that pass writes nothing more."""
    return _grant(_lock(ids), now, seconds, due_again=now)


def _grant(ids: Iterable[uuid.UUID], now: datetime, seconds: float, *, due_again: datetime) -> Lease:
    lease = Lease(uuid.uuid4(), now + timedelta(seconds=seconds), tuple(ids), seconds)
    WorkItem.objects.filter(pk__in=lease.deployment_ids).update(
        lease_token=lease.token, lease_expires_at=lease.expires_at, next_due_at=due_again
    )
    if lease.deployment_ids:
        with connection.cursor() as cursor:  # before the commit: a token that others can read is locked
            cursor.execute("SELECT pg_advisory_lock(%s)", [_lock_key(lease.token)])
    return lease


def unlock(lease: Lease) -> None:
    """The pass is over: what it did not release may be taken over. A session that was lost has unlocked it."""
    with contextlib.suppress(DatabaseError, InterfaceError), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock(%s)", [_lock_key(lease.token)])


def _find_abandoned(now: datetime) -> set[uuid.UUID]:
    """The tokens of leases that have not expired and that no session holds."""
    # First the tokens, then the locks: a lock is taken before its token can be read.
    leased = WorkItem.objects.filter(lease_expires_at__gt=now, lease_token__isnull=False)
    tokens = set(leased.values_list("lease_token", flat=True).distinct())
    if not tokens:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks"
            " WHERE locktype = 'advisory' AND objsubid = 1"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        held = {key for (key,) in cursor.fetchall()}
    return {token for token in tokens if token is not None and _lock_key(token) not in held}


def _lock_key(token: uuid.UUID) -> int:
    """Advisory locks have keys of 64 bits."""
    return int.from_bytes(token.bytes[:8], signed=True)


def _lock(ids: Iterable[uuid.UUID]) -> list[uuid.UUID]:
    rows = Deployment.objects.filter(pk__in=list(ids)).order_by("pk").select_for_update()
    return list(rows.values_list("pk", flat=True))


def lock_held(lease: Lease) -> QuerySet[Deployment]:
    """The deployments still leased, locked until the transaction ends. Call it inside one."""
    # Two statements: one that waits for a lock reads the locked row anew, but not the rows joined to it.
    locked = _lock(lease.deployment_ids)
    held = Deployment.objects.filter(pk__in=locked, work__lease_token=lease.token)
    return held.select_related("work").order_by("pk")


def release(lease: Lease, due: Mapping[uuid.UUID, Due], memories: Mapping[uuid.UUID, Mapping[str, Any]]) -> None:
    """Release the rows that `lock_held` locked in this transaction, and set when each is due again.

    A wakeup that arrived during the pass is kept. `memories`: the autoscaler's, where they changed.
    """
    by_value: dict[Due, list[uuid.UUID]] = defaultdict(list)
    for pk, value in due.items():
        by_value[value].append(pk)
    for value, ids in by_value.items():
        was_woken = When(next_due_at__lt=F("lease_expires_at"), then=F("next_due_at"))
        values = {
            "lease_token": None,
            "lease_expires_at": None,
            "next_due_at": Case(was_woken, default=Value(value.next_due_at, output_field=DateTimeField())),
            "observed_at": value.observed_at,
            "load_known_at": value.load_known_at,
            "failures": 0,
            "failing_since": None,
            "error": "",
        }
        held = WorkItem.objects.filter(lease_token=lease.token)
        held.filter(pk__in=[pk for pk in ids if pk not in memories]).update(**values)
        items = [WorkItem(pk=pk, autoscaler=dict(memories[pk]), **values) for pk in ids if pk in memories]
        held.bulk_update(items, ["autoscaler", *values])


def set_back(lease: Lease, pk: uuid.UUID, error: Exception, now: datetime) -> WorkItem | None:
    """Release a deployment whose pass broke, to be tried again after a delay; None if the lease was lost."""
    with transaction.atomic():
        item = WorkItem.objects.select_for_update().filter(pk=pk, lease_token=lease.token).first()
        if item is None:
            return None
        item.failures += 1
        item.failing_since = item.failing_since or now
        item.error = type(error).__name__[:100]
        if item.next_due_at is None or item.next_due_at >= lease.expires_at:  # not woken during the pass
            item.next_due_at = now + timedelta(seconds=pass_delay_seconds(item.failures))
        item.lease_token = item.lease_expires_at = None
        item.save()
    return item


def release_all(lease: Lease, next_due_at: datetime) -> None:
    """Release what an interrupted pass still holds."""
    WorkItem.objects.filter(pk__in=lease.deployment_ids, lease_token=lease.token).update(
        lease_token=None, lease_expires_at=None, next_due_at=next_due_at
    )


def forget_load(row: Deployment) -> None:
    """Empty the autoscaler's memory of a deployment whose row is locked."""
    WorkItem.objects.filter(pk=row.pk).update(autoscaler={}, load_known_at=None)


def revoke(row: Deployment) -> None:
    """End the lease of a pass under way, on a row that is locked: the pass writes nothing more."""
    WorkItem.objects.filter(pk=row.pk).update(lease_token=None, lease_expires_at=None)


def claim_sweep(cluster: Cluster, now: datetime, *, seconds: float) -> bool:
    """Whether the last sweep of the cluster is `seconds` ago; if so, the caller sweeps it now."""
    is_due = Q(observed_at=None) | Q(observed_at__lte=now - timedelta(seconds=seconds))
    return bool(Cluster.objects.filter(is_due, pk=cluster.pk).update(observed_at=now))
