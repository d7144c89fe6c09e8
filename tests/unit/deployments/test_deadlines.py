"""How long a phase may take, and what is said of one that took longer."""

import pytest

from deployments.reconciler import deadlines
from deployments.reconciler.snapshot import Policy
from deployments.states import ReplicaState

GIB = 2**30
FLOORS = {"DOWNLOADING_MODEL": 20, "ENGINE_INITIALIZING": 40}
BASES = {"REQUESTING_GPU": 600, "DOWNLOADING_MODEL": 3600, "ENGINE_INITIALIZING": 600}
POLICY = Policy(phase_deadline_seconds=BASES, floor_mib_per_second=FLOORS)


@pytest.mark.parametrize(
    ("phase", "weight_bytes", "floors", "seconds"),
    [
        pytest.param("DOWNLOADING_MODEL", 0, FLOORS, 600, id="no weights"),
        pytest.param("DOWNLOADING_MODEL", GIB, FLOORS, 651.2, id="a GiB at 20 MiB/s"),
        pytest.param("DOWNLOADING_MODEL", 100 * GIB, FLOORS, 5720, id="a hundred GiB"),
        pytest.param("ENGINE_INITIALIZING", 100 * GIB, FLOORS, 3160, id="a rate of its own"),
        pytest.param("REQUESTING_GPU", 100 * GIB, FLOORS, 600, id="no weights move while a GPU is asked for"),
        pytest.param("DOWNLOADING_MODEL", 100 * GIB, {"DOWNLOADING_MODEL": 0}, 600, id="a rate of 0 adds nothing"),
        pytest.param("DOWNLOADING_MODEL", 100 * GIB, {}, 600, id="no rate"),
    ],
)
def test_a_deadline_grows_with_the_weights(
    phase: str, weight_bytes: int, floors: dict[str, float], seconds: float
) -> None:
    assert deadlines.deadline_seconds(phase, 600, weight_bytes, floors) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("state", "weight_bytes", "code", "facts"),
    [
        pytest.param("REQUESTING_GPU", 20 * GIB, "gpu_not_granted", {"limit_seconds": 600}, id="asking for a GPU"),
        pytest.param(
            "DOWNLOADING_MODEL",
            20 * GIB,
            "download_too_slow",
            {"limit_seconds": 4624, "base_seconds": 3600, "weight_seconds": 1024, "weight_bytes": 20 * GIB,
             "mib_per_second": 20},
            id="downloading",
        ),
        pytest.param(
            "ENGINE_INITIALIZING",
            20 * GIB,
            "never_healthy",
            {"limit_seconds": 1112, "base_seconds": 600, "weight_seconds": 512, "weight_bytes": 20 * GIB,
             "mib_per_second": 40},
            id="initializing",
        ),
        pytest.param("ENGINE_INITIALIZING", 0, "never_healthy", {"limit_seconds": 600}, id="weights unknown"),
    ],
)  # fmt: skip
def test_a_missed_deadline_names_the_limit_that_was_in_force(
    state: str, weight_bytes: int, code: str, facts: dict[str, float]
) -> None:
    cause = deadlines.explain(f"deadline:{state}", POLICY, "last words", weight_bytes)
    assert (cause.code, cause.evidence, cause.facts) == (code, "last words", facts)


def test_every_starting_phase_has_a_deadline() -> None:
    assert {deadlines.find_limit(ReplicaState(state), POLICY, 0).seconds for state in BASES} == {600, 3600}
