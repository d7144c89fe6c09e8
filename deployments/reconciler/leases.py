"""Who works on which deployments: a token and an expiry on the row.

A pass that lost its lease writes nothing and calls nothing: every transaction begins with `held`, which locks the rows
that still carry the token.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet

from deployments.models import Deployment


@dataclass(frozen=True)
class Lease:
    """One token for a whole batch."""

    token: uuid.UUID
    expires_at: datetime
    deployment_ids: tuple[uuid.UUID, ...]


@dataclass(frozen=True)
class Due:
    """When a deployment is due again, and when its cluster was last seen."""

    next_due_at: datetime | None
    observed_at: datetime | None


@transaction.atomic
def claim(now: datetime, *, limit: int, seconds: float) -> Lease:
    """Take up to `limit` deployments that are due, the longest due first. A batch that dies is due again when its
    lease expires."""
    is_free = Q(lease_expires_at=None) | Q(lease_expires_at__lte=now)
    due = Deployment.objects.filter(is_free, next_due_at__lte=now).order_by("next_due_at")
    ids = tuple(due.select_for_update(skip_locked=True).values_list("pk", flat=True)[:limit])
    lease = Lease(uuid.uuid4(), now + timedelta(seconds=seconds), ids)
    Deployment.objects.filter(pk__in=ids).update(
        lease_token=lease.token, lease_expires_at=lease.expires_at, next_due_at=lease.expires_at
    )
    return lease


@transaction.atomic
def seize(ids: Iterable[uuid.UUID], now: datetime, *, seconds: float) -> Lease:
    """Take these deployments from whoever holds them: his pass writes nothing more."""
    rows = Deployment.objects.filter(pk__in=list(ids)).order_by("pk").select_for_update(of=("self",))
    lease = Lease(uuid.uuid4(), now + timedelta(seconds=seconds), tuple(rows.values_list("pk", flat=True)))
    Deployment.objects.filter(pk__in=lease.deployment_ids).update(
        lease_token=lease.token, lease_expires_at=lease.expires_at, next_due_at=now
    )
    return lease


def held(lease: Lease, ids: Iterable[uuid.UUID] | None = None) -> QuerySet[Deployment]:
    """The deployments still leased, locked until the transaction ends. To be evaluated inside one."""
    rows = Deployment.objects.filter(pk__in=lease.deployment_ids if ids is None else ids, lease_token=lease.token)
    return rows.order_by("pk").select_for_update(of=("self",))


def release(lease: Lease, due: Mapping[uuid.UUID, Due]) -> None:
    """Let go of the rows, which `held` has locked in this transaction, and say when each is due again."""
    by_value: dict[Due, list[uuid.UUID]] = defaultdict(list)
    for pk, one in due.items():
        by_value[one].append(pk)
    for one, ids in by_value.items():
        Deployment.objects.filter(pk__in=ids, lease_token=lease.token).update(
            lease_token=None, lease_expires_at=None, next_due_at=one.next_due_at, observed_at=one.observed_at
        )


def due_after(lease: Lease, row: Deployment, next_due_at: datetime | None) -> datetime | None:
    """When a locked row is due again: a hint that came during the pass stands."""
    hinted = row.next_due_at is not None and row.next_due_at < lease.expires_at
    return row.next_due_at if hinted else next_due_at


def give_up(lease: Lease, now: datetime) -> None:
    """Release what a broken pass still holds, to be looked at again soon."""
    Deployment.objects.filter(pk__in=lease.deployment_ids, lease_token=lease.token).update(
        lease_token=None, lease_expires_at=None, next_due_at=now + timedelta(seconds=1)
    )
