"""Daily partitions of the usage event table: creates those that are needed, drops those past their retention.

Both SQL functions run with the rights of the owner's role and are defined in the initial migration.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from django.db import connection


def ensure_partitions(times: Iterable[datetime]) -> None:
    """Create the missing partitions for the UTC days of the given aware times."""
    days = sorted({time.astimezone(UTC).date() for time in times})
    with connection.cursor() as cursor:
        for day in days:
            cursor.execute("SELECT billing_ensure_usage_partition(%s)", [day])


def drop_partitions(before: datetime) -> int:
    """Drop the partitions of days before the UTC day of `before`; returns how many were dropped.

    The SQL function never drops a partition younger than 35 days.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_drop_usage_partitions(%s)", [before.astimezone(UTC).date()])
        dropped: int = cursor.fetchone()[0]
        return dropped
