import pytest
from django.db import connection

pytestmark = pytest.mark.django_db


def test_usage_events_are_partitioned_by_day():
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_ensure_usage_partition('2026-11-21')")
        cursor.execute("SELECT to_regclass('billing_usage_event_20261121') IS NOT NULL")
        assert cursor.fetchone() == (True,)


def test_every_update_of_a_work_item_can_stay_on_its_page():
    with connection.cursor() as cursor:
        cursor.execute("SELECT reloptions FROM pg_class WHERE oid = 'deployments_workitem'::regclass")
        assert cursor.fetchone() == (["fillfactor=50"],)
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'deployments_workitem'")
        assert [index.rpartition("(")[2] for (index,) in cursor.fetchall()] == ["deployment_id)"]
