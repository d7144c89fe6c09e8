"""What runs without a live row is stopped, and what ended and is recorded is forgotten."""

import pytest

from deployments.reconciler.sweep import Sweep, sweep
from deployments.states import ReplicaState
from tests.unit.deployments.views import an_exit, seen

R = ReplicaState
RUNNING, ENDED = seen("a", R.READY), seen("a", R.READY, exited=an_exit(0))


@pytest.mark.parametrize(
    ("listed", "state", "expected"),
    [
        (RUNNING, R.READY, Sweep((), ())),
        (RUNNING, R.STOPPING, Sweep((), ())),
        (RUNNING, R.STOPPED, Sweep(("r-a",), ())),
        (RUNNING, None, Sweep(("r-a",), ())),
        (ENDED, R.READY, Sweep((), ())),
        (ENDED, R.FAILED, Sweep((), ("r-a",))),
        (ENDED, None, Sweep((), ("r-a",))),
    ],
    ids=["live", "stopping", "row ended", "no row", "not recorded yet", "recorded", "nobody's record"],
)
def test_orphans_are_reaped(listed, state, expected):
    assert sweep([listed], {"r-a": state} if state else {}) == expected
