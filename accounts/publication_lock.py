"""Locks under which rows are read and published, so that what is published last is what was committed last."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection

LOCK = """
SELECT pg_advisory_xact_lock(hashtextextended(name, 0)) FROM (SELECT unnest(%s::text[]) AS name ORDER BY 1) AS names
"""


def lock_published(names: Iterable[str]) -> None:
    """Lock the publication of these records until the transaction ends. Call it before the rows are read."""
    with connection.cursor() as cursor:
        cursor.execute(LOCK, [list(names)])
