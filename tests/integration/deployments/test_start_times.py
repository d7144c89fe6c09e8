"""What pages say about a start that goes on: when it is expected to end, and when it is given up."""

from datetime import UTC, datetime, timedelta

import pytest

from deployments import queries
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
