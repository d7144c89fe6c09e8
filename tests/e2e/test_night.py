"""A console that was off for fifteen hours: the night is in no interval and counts as no failure."""

import signal
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e import oracles, past
from tests.e2e.clients import MESSAGES
from tests.e2e.stack import Stack, until

pytestmark = pytest.mark.survive
NIGHT = timedelta(hours=15)
BACK_SECONDS = 30.0
AS_BEFORE = ["DOWNLOADING_MODEL", "READY", "READY"]
SETTINGS = {"SCALE_DOWN_DELAY_FLOOR_SECONDS": "3"}
SLEEPS_SOON = {"enabled": True, "min_replicas": 0, "max_replicas": 2, "scale_down_delay_seconds": 3}


def _switch_off(stack: Stack) -> None:
    stack.end(signal.SIGTERM)


def _cut_the_power(stack: Stack) -> None:
    stack.end(signal.SIGKILL)
    stack.cut_replicas()


@pytest.mark.parametrize("end", [_switch_off, _cut_the_power], ids=["switched off", "power cut"])
def test_a_night_without_the_console_is_in_no_interval_and_no_failure(stack, end):
    ready, slow = f"ready{end.__name__.replace('_', '-')}", f"slow{end.__name__.replace('_', '-')}"
    stack.deploy(ready, 2)
    stack.deploy(slow, download_seconds=3000)
    asleep = f"asleep{end.__name__.replace('_', '-')}"
    stack.deploy_with(SLEEPS_SOON, asleep)
    stack.reaches(ready, "RUNNING")
    until("it downloads", lambda: stack.deployment(slow)["phase"] == "DOWNLOADING_MODEL")
    stack.reaches(asleep, "SLEEPING")
    assert _answers(stack, ready)
    assert _states(stack, set()) == AS_BEFORE
    old = {row.replica_id for row in oracles.rows(stack) if row.state in oracles.LIVE}

    end(stack)
    off_at = datetime.now(UTC)
    past.move(stack, NIGHT)
    on_at, began = datetime.now(UTC), time.monotonic()
    stack.start()
    left = BACK_SECONDS - (time.monotonic() - began)
    until("new replicas are as far as the old ones were", lambda: _states(stack, old) == AS_BEFORE, left)
    assert stack.reaches(ready, "RUNNING", seconds=5)["replicas"] == {"desired": 2, "ready": 2, "total": 2}

    assert _answers(stack, ready)
    assert stack.deployment(asleep)["status"] == "SLEEPING"
    oracles.no_orphan_and_no_ghost(stack)
    oracles.stamps_are_those_of_the_shims(stack)
    for row in oracles.rows(stack):
        assert row.state != "FAILED", row
        if row.replica_id in old:
            assert row.released_at, row
            assert row.released_at <= off_at - NIGHT, row
        elif row.state in oracles.LIVE:
            assert row.phases[0][1] >= on_at, row
    for name in (ready, slow, asleep):
        assert not [event for event in stack.events(name) if "fail" in event["kind"]]
        stack.ask("POST", f"/deployments/{name}/terminate")
    for name in (ready, slow, asleep):
        stack.reaches(name, "TERMINATED")


def _states(stack: Stack, old: set[str]) -> list[str]:
    """Of live replicas that are not old ones."""
    return sorted(row.state for row in oracles.rows(stack) if row.state in oracles.LIVE and row.replica_id not in old)


def _answers(stack: Stack, model: str) -> bool:
    body = {"model": model, "messages": MESSAGES, "max_tokens": 5}
    address, secret = f"{stack.run['gateway_url']}/v1/chat/completions", stack.run["demo"]["api_keys"]["inference"]
    return stack.call(address, "POST", body, secret)[0] == 200
