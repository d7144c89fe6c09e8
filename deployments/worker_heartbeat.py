"""When the console was up: the heartbeat of its workers, in the database.

While any worker lives, the heartbeat is at most a few seconds old, however long a pass takes. A gap of more than
ABSENT_SECONDS means that no worker ran, and nobody could observe a replica or act on it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Case, F, When

from deployments.models import WorkerHeartbeat

BEAT_SECONDS = 5.0
ABSENT_SECONDS = 60.0


def record(now: datetime) -> None:
    """A worker lives. Writes only if the last heartbeat is BEAT_SECONDS old."""
    is_late = When(beat_at__lt=now - timedelta(seconds=ABSENT_SECONDS), then=now)
    stale = WorkerHeartbeat.objects.exclude(beat_at__gt=now - timedelta(seconds=BEAT_SECONDS), beat_at__lte=now)
    if not stale.update(up_since=Case(is_late, default=F("up_since")), beat_at=now):
        WorkerHeartbeat.objects.bulk_create([WorkerHeartbeat(id=1, up_since=now, beat_at=now)], ignore_conflicts=True)


def read_up_since() -> datetime | None:
    """Since when workers have run without a gap; None before the first heartbeat."""
    return WorkerHeartbeat.objects.values_list("up_since", flat=True).first()
