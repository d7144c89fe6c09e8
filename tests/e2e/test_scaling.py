"""More replicas under load at once, fewer after the delay, and every decision with what it looked at."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.clients import Callers, Ending
from tests.e2e.stack import Stack, until

pytestmark = pytest.mark.survive
DELAY_SECONDS = 5
LOOK_SECONDS = 2.5  # between two looks at the load: the last one that needed three may be so old
SETTINGS = {"SCALE_DOWN_DELAY_FLOOR_SECONDS": str(DELAY_SECONDS), "AUTOSCALER_MEAN_SECONDS": "4"}
CLIENTS, CONCURRENCY, TOKENS = 10, 4, 40
INPUTS = {"load", "waiting", "max_concurrency", "wanted_before", "ready", "min_replicas", "max_replicas", "mean_load"}


def test_replicas_follow_the_load_and_every_decision_says_why(stack):
    scaled = {"enabled": True, "min_replicas": 1, "max_replicas": 3, "scale_down_delay_seconds": DELAY_SECONDS}
    stack.deploy_with(scaled, "follows", "b200-180gb", concurrency=CONCURRENCY, itl_ms=50)
    stack.reaches("follows", "RUNNING")
    address, key = f"{stack.run['gateway_url']}/v1", stack.run["demo"]["api_keys"]["inference"]
    callers = Callers(address, key, ["follows"], tokens=TOKENS, count=CLIENTS)
    until("three replicas are ready", lambda: stack.deployment("follows")["replicas"]["ready"] == 3, 60)
    ending_at = datetime.now(UTC)
    seen = callers.end()
    until("one replica is left", lambda: _replicas(stack) == (1, 1, 1), 90)

    assert all(one.ending is Ending.DONE for one in seen)
    steps = list(reversed(stack.events("follows", "scaled")))
    numbers = [1, *(event["data"]["to"] for event in steps)]
    assert numbers == [1, 2, 3, 2, 1]  # at most doubled, at most halved
    for event in steps:
        assert event["data"]["inputs"].keys() >= INPUTS
        assert event["summary"]
        assert 1 <= event["data"]["to"] <= 3
    down = [datetime.fromisoformat(one["at"]) for one in steps if one["data"]["to"] < one["data"]["from"]]
    assert min(down) >= ending_at + timedelta(seconds=DELAY_SECONDS - LOOK_SECONDS)


def _replicas(stack: Stack) -> tuple[int, int, int]:
    counts = stack.deployment("follows")["replicas"]
    return counts["desired"], counts["ready"], counts["total"]
