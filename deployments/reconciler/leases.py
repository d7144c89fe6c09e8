"""Which worker works on what: a token and an expiry on the deployment's row, and the time of a cluster's last sweep.

A pass that lost its lease writes nothing and calls nothing: every transaction begins with `lock_held`, which locks the
rows that still carry the token.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet

from deployments.models import Cluster, Deployment


@dataclass(frozen=True)
class Lease:
    """One token for a whole batch."""

    token: uuid.UUID
    expires_at: datetime
    deployment_ids: tuple[uuid.UUID, ...]


@dataclass(frozen=True)
class Due:
    """When a deployment is due again, and when its cluster was last observed."""

    next_due_at: datetime | None
    observed_at: datetime | None


@transaction.atomic
def claim(now: datetime, *, limit: int, seconds: float) -> Lease:
    """Lease up to `limit` due deployments, the longest due first. They are due again when the lease expires."""
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
    """Lease these deployments even if another pass holds them: that pass writes nothing more."""
    rows = Deployment.objects.filter(pk__in=list(ids)).order_by("pk").select_for_update(of=("self",))
    lease = Lease(uuid.uuid4(), now + timedelta(seconds=seconds), tuple(rows.values_list("pk", flat=True)))
    Deployment.objects.filter(pk__in=lease.deployment_ids).update(
        lease_token=lease.token, lease_expires_at=lease.expires_at, next_due_at=now
    )
    return lease


def lock_held(lease: Lease) -> QuerySet[Deployment]:
    """The deployments still leased, locked until the transaction ends. Evaluate it inside one."""
    rows = Deployment.objects.filter(pk__in=lease.deployment_ids, lease_token=lease.token)
    return rows.order_by("pk").select_for_update(of=("self",))


def release(lease: Lease, due: Mapping[uuid.UUID, Due]) -> None:
    """Release the rows that `lock_held` locked in this transaction, and set when each is due again."""
    by_value: dict[Due, list[uuid.UUID]] = defaultdict(list)
    for pk, value in due.items():
        by_value[value].append(pk)
    for value, ids in by_value.items():
        Deployment.objects.filter(pk__in=ids, lease_token=lease.token).update(
            lease_token=None, lease_expires_at=None, next_due_at=value.next_due_at, observed_at=value.observed_at
        )


def release_all(lease: Lease, next_due_at: datetime) -> None:
    """Release what an interrupted pass still holds."""
    Deployment.objects.filter(pk__in=lease.deployment_ids, lease_token=lease.token).update(
        lease_token=None, lease_expires_at=None, next_due_at=next_due_at
    )


def revoke(row: Deployment) -> None:
    """End the lease of a pass under way, on a row that is locked: the pass writes nothing more."""
    row.lease_token = row.lease_expires_at = None
    row.save(update_fields=["lease_token", "lease_expires_at"])


def claim_sweep(cluster: Cluster, now: datetime, *, seconds: float) -> bool:
    """Whether the last sweep of the cluster is `seconds` ago; if so, the caller sweeps it now."""
    is_due = Q(observed_at=None) | Q(observed_at__lte=now - timedelta(seconds=seconds))
    return bool(Cluster.objects.filter(is_due, pk=cluster.pk).update(observed_at=now))
