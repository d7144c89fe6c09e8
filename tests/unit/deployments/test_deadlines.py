"""How long a phase may take, and what is said of one that took longer."""

import pytest

from deployments import causes
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
    ("state", "weight_bytes", "code", "words"),
    [
        pytest.param("REQUESTING_GPU", 20 * GIB, "gpu_not_granted", "within 600 s.", id="asking for a GPU"),
        pytest.param(
            "DOWNLOADING_MODEL",
            20 * GIB,
            "download_too_slow",
            "within 4624 s (3600 s, and 1024 s for 20.0 GiB of weights at 20 MiB/s).",
            id="downloading",
        ),
        pytest.param(
            "ENGINE_INITIALIZING",
            20 * GIB,
            "never_healthy",
            "within 1112 s (600 s, and 512 s for 20.0 GiB of weights at 40 MiB/s).",
            id="initializing",
        ),
        pytest.param("ENGINE_INITIALIZING", 0, "never_healthy", "within 600 s.", id="weights unknown"),
    ],
)
def test_a_missed_deadline_names_the_limit_that_was_in_force(
    state: str, weight_bytes: int, code: str, words: str
) -> None:
    cause = deadlines.explain(f"deadline:{state}", POLICY, "last words", weight_bytes)
    assert (cause.code, cause.evidence) == (code, "last words")
    assert cause.message.endswith(words)


def test_every_cause_says_what_to_press_or_to_look_at() -> None:
    found = [
        deadlines.explain("unhealthy", POLICY, ""),
        *(deadlines.explain(f"deadline:{state}", POLICY, "", GIB) for state in BASES),
        causes.vanished(""),
        causes.start_refused("no such image"),
    ]
    for cause in found:
        assert cause.evidence
        assert any(word in cause.action for word in ("Retry", "Edit", "Clone", "by itself"))


def test_every_starting_phase_has_a_deadline() -> None:
    assert {deadlines.describe_limit(ReplicaState(state), POLICY, 0) for state in BASES} == {"600 s", "3600 s"}
