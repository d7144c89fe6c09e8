"""What differs, in the words of the API, and whether it restarts."""

import pytest

from deployments.config.configuration import Fixed
from deployments.config.diff import Change, diff, needs_restart, sentence
from deployments.schema.adapter import Adapter
from tests.unit.deployments.config.test_merge import BASE, FIXED, REAL, RICH, changed


def changes(before, after):
    return diff(before.to_json(), after.to_json())


@pytest.mark.parametrize("spec", [BASE, FIXED, REAL, RICH], ids=["range", "fixed", "vllm", "adapters"])
def test_a_configuration_does_not_differ_from_itself(spec):
    assert changes(spec, spec) == ()


def test_fields_are_named_by_their_path():
    engine = BASE.configuration.engine.model_copy(update={"context_length": 2048, "max_concurrency": 4})
    after = changed(BASE, engine=engine, labels={"team": "c"}, description="")
    assert changes(BASE, after) == (
        Change("description", "for support", ""),
        Change("engine.context_length", 4096, 2048),
        Change("engine.max_concurrency", 16, 4),
        Change("labels.team", "a", "c"),
        Change("labels.tier", "b", None),
    )


def test_adapters_are_told_apart_by_name():
    after = changed(
        RICH, adapters=(Adapter(name="new", repository="lab/new"), Adapter(name="sql", repository="lab/sql"))
    )
    assert changes(RICH, after) == (
        Change("adapters.sql.revision", "v1", ""),
        Change("adapters.tone.repository", "lab/tone", None),
        Change("adapters.tone.revision", "", None),
        Change("adapters.new.repository", None, "lab/new"),
        Change("adapters.new.revision", None, ""),
    )


def test_a_switch_of_autoscaling_shows_both_modes():
    assert changes(BASE, changed(BASE, autoscaling=Fixed(replicas=2))) == (
        Change("autoscaling.enabled", True, False),
        Change("autoscaling.min_replicas", 1, None),
        Change("autoscaling.max_replicas", 3, None),
        Change("autoscaling.scale_down_delay_seconds", 300, None),
        Change("autoscaling.replicas", None, 2),
    )


@pytest.mark.parametrize(
    ("field", "restarts"),
    [
        ("model.id", True),
        ("adapters.sql.repository", True),
        ("engine.simulator.ttft_ms", True),
        ("gpu.count", True),
        ("autoscaling.max_replicas", False),
        ("description", False),
        ("labels.model", False),
    ],
)
def test_only_what_the_engine_is_started_with_needs_a_restart(field, restarts):
    assert needs_restart(field) is restarts


def test_a_restart_is_needed_exactly_when_the_revision_differs():
    for after in (FIXED, RICH, REAL, changed(BASE, labels={}), changed(BASE, description="x")):
        found = changes(BASE, after)
        assert any(needs_restart(change.field) for change in found) == (after.revision != BASE.revision)


def test_a_diff_reads_as_a_sentence():
    found = (
        Change("engine.max_concurrency", 16, 4),
        Change("autoscaling.enabled", True, False),
        Change("engine.simulator.ttft_ms", 120.0, 1.5),
        Change("description", "", None),
    )
    assert sentence(found) == (
        "engine.max_concurrency 16 → 4, autoscaling.enabled on → off, engine.simulator.ttft_ms 120 → 1.5, "
        "description — → —"
    )
