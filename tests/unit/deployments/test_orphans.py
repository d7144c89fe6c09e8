"""What runs without a live row is stopped, and what ended and is recorded is forgotten."""

import pytest

from deployments.reconciler.replica_policy import Orphans, find_orphans
from deployments.states import ReplicaState
from tests.unit.deployments.snapshots import an_exit, seen

R = ReplicaState
RUNNING, ENDED = seen("a", R.READY), seen("a", R.READY, exited=an_exit(0))


@pytest.mark.parametrize(
    ("listed", "state", "expected"),
    [
        (RUNNING, R.READY, Orphans((), ())),
        (RUNNING, R.STOPPING, Orphans((), ())),
        (RUNNING, R.STOPPED, Orphans(("r-a",), ())),
        (RUNNING, None, Orphans(("r-a",), ())),
        (ENDED, R.READY, Orphans((), ())),
        (ENDED, R.FAILED, Orphans((), ("r-a",))),
        (ENDED, None, Orphans((), ("r-a",))),
    ],
    ids=["live", "stopping", "row ended", "no row", "not recorded yet", "recorded", "nobody's record"],
)
def test_orphans_are_reaped(listed, state, expected):
    assert find_orphans([listed], {"r-a": state} if state else {}) == expected
