"""What is derived from the declarations: kinds, bounds, flags, inheritance, and the table of the documentation."""

from pathlib import Path
from typing import Annotated

import pytest

from deployments.config.configuration import CatalogSource, Configuration
from deployments.config.settings_index import SETTINGS, declared_settings, find
from deployments.config.settings_table import replace_table
from deployments.engines.registry import ENGINES
from deployments.schema.setting import Flag, Setting
from deployments.schema.types import Section

ROOT = Path(__file__).parents[4]


class Inner(Section):
    secret: Annotated[str | None, Setting("Secret", restarts=False)] = None
    plain: Annotated[str | None, Setting("Plain")] = None


class Outer(Section):
    inner: Annotated[Inner, Setting("Inner", restarts=True, operators_only=True, advanced=True)] = Inner()


def test_settings_inherit_what_their_section_says_unless_they_say_otherwise():
    secret, plain = declared_settings(Outer)
    assert (secret.path, secret.restarts, secret.setting.operators_only, secret.setting.advanced) == (
        "inner.secret",
        False,
        True,
        True,
    )
    assert (plain.path, plain.restarts) == ("inner.plain", True)


def test_bounds_and_kinds_are_those_of_the_annotation():
    concurrency = SETTINGS["engine.max_concurrency"]
    assert (concurrency.kind, concurrency.minimum, concurrency.maximum, concurrency.default) == ("integer", 1, 1024, 16)
    assert SETTINGS["engine.simulator.fail"].kind == "choice"
    assert "crash" in SETTINGS["engine.simulator.fail"].choices
    assert SETTINGS["engine.prefix_caching"].kind == "boolean"
    assert SETTINGS["model.id"].required


def test_a_setting_that_several_engines_have_appears_once_with_the_flag_of_each():
    context = SETTINGS["engine.context_length"]
    assert context.engines == tuple(ENGINES)
    assert dict(context.flags)["vllm"] == Flag("--max-model-len")
    assert SETTINGS["engine.simulator.ttft_ms"].engines == ("simulator",)


@pytest.mark.parametrize(
    ("path", "declared"),
    [
        ("labels.team", "labels"),
        ("adapters.sql.repository", "adapters"),
        ("engine.max_concurrency", "engine.max_concurrency"),
        ("surprise", None),
    ],
)
def test_the_setting_behind_a_path_is_found(path, declared):
    found = find(path)
    assert (found.path if found else None) == declared


def test_every_setting_has_a_title_in_sentence_case():
    for declared in SETTINGS.values():
        assert declared.setting.title
        assert declared.setting.title[0].isupper()
        assert not declared.setting.help or declared.setting.help.endswith(".")


def test_engines_add_settings_and_never_redefine_shared_ones():
    for engine in ENGINES.values():
        shared = set(engine.settings.SHARED_FLAGS)
        assert shared <= set(engine.settings.model_fields)


def test_the_reference_of_settings_is_current():
    document = (ROOT / "docs" / "engines.md").read_text()
    assert replace_table(document) == document, "run `make docs`"


def test_the_sections_of_a_body_are_what_people_send():
    assert list(Configuration.model_fields) == [
        "name", "description", "endpoint", "model", "adapters", "engine", "gpu", "autoscaling", "limits",
        "labels",
    ]  # fmt: skip
    assert list(CatalogSource.model_fields) == ["source", "id"]
