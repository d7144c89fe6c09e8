"""When workers ran: the heartbeat that several processes record, each with the time that it read before."""

from datetime import UTC, datetime, timedelta

import pytest

from deployments import worker_heartbeat
from deployments.models import WorkerHeartbeat

pytestmark = pytest.mark.django_db
START = datetime(2026, 11, 21, 12, tzinfo=UTC)


def after(seconds):
    return START + timedelta(seconds=seconds)


def record(*seconds):
    for second in seconds:
        worker_heartbeat.record(after(second))


def test_a_heartbeat_that_is_written_late_is_no_absence():
    record(*range(0, 100, 5), 20, 100)
    assert worker_heartbeat.read_up_since() == START
    assert WorkerHeartbeat.objects.get().beat_at == after(100)


def test_a_gap_is_an_absence():
    record(0, 5, 70)
    assert worker_heartbeat.read_up_since() == after(70)


def test_a_clock_that_is_set_back_far_goes_on_from_there():
    record(0, 5, -7200, -7195)
    assert worker_heartbeat.read_up_since() == after(-7200)
    assert WorkerHeartbeat.objects.get().beat_at == after(-7195)
