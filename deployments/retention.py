"""Deletes what is older than its retention: ended replicas, their kept logs, and events.

Each function deletes in batches of BATCH_SIZE rows, each in a transaction of its own, and about MAX_ROWS at most in one
call; the next call takes the rest. Usage is not touched: it refers to replicas by id only.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet

from deployments import events
from deployments.models import DeploymentEvent, Replica
from deployments.reconciler import state_writer
from deployments.states import ENDED

BATCH_SIZE = 500
MAX_ROWS = 10_000


def delete_ended_replicas(now: datetime) -> int:
    """Delete replicas that ended ENDED_REPLICA_DAYS ago, with their phases; returns how many."""
    ids = list(_ended_before(now - timedelta(days=settings.ENDED_REPLICA_DAYS)).values_list("pk", flat=True)[:MAX_ROWS])
    for start in range(0, len(ids), BATCH_SIZE):
        state_writer.delete_replicas(ids[start : start + BATCH_SIZE])
    return len(ids)


def delete_kept_logs(now: datetime) -> int:
    """Delete the logs of replicas that ended REPLICA_LOG_DAYS ago; returns of how many."""
    ended = _ended_before(now - timedelta(days=settings.REPLICA_LOG_DAYS)).exclude(log_tail="")
    ids = list(ended.values_list("pk", flat=True)[:MAX_ROWS])
    for start in range(0, len(ids), BATCH_SIZE):
        state_writer.delete_logs(ids[start : start + BATCH_SIZE])
    return len(ids)


def delete_events(now: datetime) -> int:
    """Delete events that are EVENT_DAYS old; returns how many. Ids rise with time, so the oldest have the lowest. The
    last change of each deployment that is not deleted stays: it says who made it."""
    before, deleted = now - timedelta(days=settings.EVENT_DAYS), 0
    is_change = Q(kind__in=[kind.value for kind in events.CHANGES])
    later = DeploymentEvent.objects.filter(is_change, deployment=OuterRef("deployment"), id__gt=OuterRef("id"))
    is_deletable = ~is_change | Q(deployment__deleted_at__isnull=False) | Exists(later)
    deletable = DeploymentEvent.objects.filter(is_deletable).order_by("id")
    while deleted < MAX_ROWS:
        oldest = deletable.values_list("id", "at")[:BATCH_SIZE]
        ids = [event_id for event_id, at in oldest if at < before]
        DeploymentEvent.objects.filter(pk__in=ids).delete()
        deleted += len(ids)
        if len(ids) < BATCH_SIZE:
            break
    return deleted


def _ended_before(moment: datetime) -> QuerySet[Replica]:
    return Replica.objects.filter(state__in=ENDED, released_at__lt=moment).order_by("released_at")
