"""What pages say about a start that goes on: when it is expected to end, and when it is given up."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from deployments import queries
from deployments.models import Deployment
from deployments.reconciler import deadlines, snapshot_loader
from deployments.states import STARTING_ORDER
from deployments.states import ReplicaState as R
from tests.integration.console import deployment_rows as rows

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("engine", ["simulator", "vllm"])
@pytest.mark.parametrize("state", STARTING_ORDER)
def test_a_start_fails_when_the_page_says_so(state: R, engine: str):
    deployment = rows.deployment(rows.organization(), NOW)
    replica = rows.replica(deployment, state, NOW)
    replica.revision.spec["engine"]["name"] = engine
    fails_at = queries.start_limits(replica, queries.MeasuredStarts({}, None)).fails_at
    policy, weight_bytes = snapshot_loader.configured_policy(), snapshot_loader.weight_bytes(replica)
    second = timedelta(seconds=1)
    assert deadlines.find_missed(policy, state, NOW, weight_bytes, fails_at - second) == ""
    assert deadlines.find_missed(policy, state, NOW, weight_bytes, fails_at + second) == f"deadline:{state}"


def test_the_many_starts_of_one_model_leave_those_of_another_comparable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(queries, "STARTS_MEASURED", 2)
    owner = rows.organization()
    rare, busy = rows.deployment(owner, NOW, "rare"), rows.deployment(owner, NOW, "busy")
    rare.revision.spec["model"]["id"] = "another"
    rare.revision.save()
    rows.replica(rare, R.READY, NOW, seconds=10, ready_at=NOW - timedelta(hours=1))
    for minutes in range(8):
        rows.replica(busy, R.READY, NOW, seconds=10, ready_at=NOW - timedelta(minutes=minutes))
    for deployment in (rare, busy):
        rows.replica(deployment, R.ENGINE_INITIALIZING, NOW - timedelta(seconds=40))
    with CaptureQueriesContext(connection) as captured:
        late = queries.late_starts(Deployment.objects.all(), NOW)
    assert late.keys() == {rare.pk, busy.pk}
    assert len(captured) == 2
    assert queries.measure_starts(busy).total.count == 2
