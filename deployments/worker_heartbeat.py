"""When the console was up: the heartbeat of the processes that run passes, in the database.

While any of them lives, the heartbeat is at most a few seconds old, however long a pass takes. A gap of more than
ABSENT_SECONDS means that none ran, and nobody could observe a replica or act on it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Least

from deployments.models import WorkerHeartbeat

BEAT_SECONDS = 5.0
ABSENT_SECONDS = 60.0
SET_BACK_SECONDS = 3600.0


def record(now: datetime) -> None:
    """A worker lives. Writes only if the last heartbeat is BEAT_SECONDS old.

    A process that was suspended after it read its clock does not lower the heartbeat of others. Only if the last one
    lies SET_BACK_SECONDS ahead, the clock was set back, and the record goes on from there.
    """
    is_old = Q(beat_at__lte=now - timedelta(seconds=BEAT_SECONDS))
    is_stale = is_old | Q(beat_at__gt=now + timedelta(seconds=SET_BACK_SECONDS))
    is_late = When(beat_at__lt=now - timedelta(seconds=ABSENT_SECONDS), then=now)
    up_since = Case(is_late, default=Least(F("up_since"), Value(now)))
    if not WorkerHeartbeat.objects.filter(is_stale).update(up_since=up_since, beat_at=now):
        WorkerHeartbeat.objects.bulk_create([WorkerHeartbeat(id=1, up_since=now, beat_at=now)], ignore_conflicts=True)


def read_up_since() -> datetime | None:
    """Since when workers have run without a gap; None before the first heartbeat."""
    return WorkerHeartbeat.objects.values_list("up_since", flat=True).first()
