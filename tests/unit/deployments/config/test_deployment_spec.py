"""What a revision stores: every schema version loads, and an upgrade of the console restarts nothing."""

import json
from pathlib import Path

import pytest

from deployments.config.build_spec import parse
from deployments.config.deployment_spec import RevisionSpec
from deployments.config.upgrades import SCHEMA_VERSION, STEPS
from tests.unit.deployments.config.test_build_spec import LEAST, OPTIONS
from tests.unit.deployments.config.test_merge import BASE, REAL, RICH

STORED = sorted((Path(__file__).parent / "stored").glob("*.json"))


@pytest.mark.parametrize("path", STORED, ids=[path.stem for path in STORED])
def test_every_revision_ever_stored_loads_with_the_hash_it_had(path):
    example = json.loads(path.read_text())
    assert RevisionSpec.from_json(example["spec"]).spec_hash == example["spec_hash"]


def test_there_is_an_example_and_a_step_of_every_schema_version():
    versions = {json.loads(path.read_text())["spec"]["schema_version"] for path in STORED}
    assert versions == set(range(1, SCHEMA_VERSION + 1))
    assert set(STEPS) == set(range(1, SCHEMA_VERSION))


@pytest.mark.parametrize("spec", [BASE, REAL, RICH], ids=["simulator", "vllm", "adapters"])
def test_what_is_stored_reads_as_what_was_stored(spec):
    revision = spec.revision
    assert RevisionSpec.from_json(json.loads(json.dumps(revision.to_json()))) == revision


def test_settings_that_are_not_set_are_neither_stored_nor_hashed():
    stored = BASE.revision.to_json()
    assert "fail" not in stored["engine"]["simulator"]
    without_version = {name: value for name, value in stored.items() if name != "schema_version"}
    assert RevisionSpec.from_json({**without_version, "schema_version": SCHEMA_VERSION}).spec_hash == (
        BASE.revision.spec_hash
    )


def test_the_order_of_adapters_and_of_fields_means_nothing():
    adapters = [{"repository": "lab/sql"}, {"repository": "lab/tone"}]
    one = parse(LEAST | {"adapters": adapters}, OPTIONS).revision
    other = parse({"adapters": adapters[::-1]} | LEAST, OPTIONS).revision
    assert one.spec_hash == other.spec_hash


def test_a_launch_is_told_of_the_model_the_names_and_the_adapters():
    context = RICH.revision.launch_context(("chat", "demo/chat"))
    assert (context.repository, context.gpu_count, context.served_names) == ("lab/small", 2, ("chat", "demo/chat"))
    assert [adapter.name for adapter in context.adapters] == ["sql", "tone"]
