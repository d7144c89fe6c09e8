"""The table of what people are told, first match wins: every row against all that could speak for a later one."""

from itertools import compress, product

import pytest

from deployments.reconciler.status import derive
from deployments.states import DeploymentStatus, ReplicaState
from tests.unit.deployments.snapshots import NOW, a_deployment, a_replica

R, S = ReplicaState, DeploymentStatus
LIVES = [
    (), (R.STOPPED,), (R.FAILED,), (R.STOPPING,), (R.DRAINING,), (R.REQUESTING_GPU,),
    (R.ENGINE_INITIALIZING, R.DRAINING), (R.READY,), (R.READY, R.READY), (R.READY, R.DOWNLOADING_MODEL),
    (R.READY, R.DRAINING),
]  # fmt: skip
STAMPS = ("terminate_requested_at", "failed_at", "asleep_since")
FLAGS = [{name: NOW for name in compress(STAMPS, chosen)} for chosen in product([False, True], repeat=3)]


def rows(flags, states, hashes):
    """The rows of the table that hold, in its order, as conditions written down once more."""
    live = [state for state in states if state not in (R.STOPPED, R.FAILED)]
    ready = live.count(R.READY)
    starting = any(state in (R.REQUESTING_GPU, R.DOWNLOADING_MODEL, R.ENGINE_INITIALIZING) for state in live)
    return [
        ("terminate_requested_at" in flags and bool(live), S.TERMINATING),
        ("terminate_requested_at" in flags, S.TERMINATED),
        ("failed_at" in flags and not ready, S.FAILED),
        ("asleep_since" in flags and not live, S.SLEEPING),
        (not ready and starting, S.DEPLOYING),
        (not ready and bool(live), S.SCALING),
        (not ready, S.PENDING),
        (len(live) > 1 and hashes == "two", S.ROLLING),
        (ready != 1, S.SCALING),
        (True, S.RUNNING),
    ]


@pytest.mark.parametrize("hashes", ["one", "two"])
@pytest.mark.parametrize("states", LIVES, ids=lambda states: " ".join(states) or "none")
@pytest.mark.parametrize("flags", FLAGS, ids=lambda flags: " ".join(name.split("_")[0] for name in flags) or "plain")
def test_the_first_row_that_holds_names_the_status(flags, states, hashes):
    replicas = [
        a_replica(str(number), state, spec_hash=f"v{number}" if hashes == "two" else "v1")
        for number, state in enumerate(states)
    ]
    expected = next(status for holds, status in rows(flags, states, hashes) if holds)
    assert derive(a_deployment(desired_replicas=1, **flags), replicas) == expected
