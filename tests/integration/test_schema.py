import pytest
from django.db import connection

pytestmark = pytest.mark.django_db


def test_usage_events_are_partitioned_by_day():
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_ensure_usage_partition('2026-11-21')")
        cursor.execute("SELECT to_regclass('billing_usage_event_20261121') IS NOT NULL")
        assert cursor.fetchone() == (True,)
