"""What the form of a deployment reads from what was typed."""

import pytest

from console.components import typed_numbers
from console.deployments import replica_range_fields
from console.deployments.edit_merge import merge_onto_current
from console.deployments.forms import (
    ADAPTER_FIELDS,
    FIELDS,
    empty_form,
    filled_form,
    rows_of,
    texts_of,
    typed_form,
    typed_rows,
)
from deployments.config.build_spec import parse
from deployments.config.configuration import Fixed
from tests.unit.deployments.config.test_build_spec import LEAST, OPTIONS
from tests.unit.deployments.config.test_merge import changed

CURRENT = parse(
    LEAST
    | {
        "description": "one\ntwo",
        "model": {"source": "catalog", "id": "large"},
        "adapters": [{"name": "sql", "repository": "northwind/sql"}],
        "labels": {"team": "", "url": "https://example.com/?a=b"},
    },
    OPTIONS,
)


def sent(spec, **typed):
    """What a browser sends for a form after somebody typed."""
    body = spec.to_json()
    fields = {
        f"adapter-{place}-{name}": row[name] for place, row in enumerate(rows_of(body)) for name in ADAPTER_FIELDS
    }
    return {name: text.replace("\n", "\r\n") for name, text in {**texts_of(body), **fields, **typed}.items()}


def typed(spec=CURRENT, **changes):
    return typed_form(sent(spec, **changes), OPTIONS, spec)


def test_a_form_sent_back_as_it_was_shown_asks_for_the_same_even_where_a_field_cannot_show_all():
    form = typed()
    assert form.is_valid()
    assert form.spec == CURRENT


def test_an_edit_takes_no_name_endpoint_or_gpu_type_from_what_was_sent():
    body = typed(name="other", endpoint="elsewhere", gpu="b200-180gb").body
    assert (body["name"], body["endpoint"], body["gpu"]["type"]) == ("chat", "default", "l40s-48gb")


@pytest.mark.parametrize(
    ("preset", "changes", "expected"),
    [
        ("lowest_cost", {}, {"enabled": True, "min_replicas": 0, "max_replicas": 3}),
        ("lowest_cost", {"max_replicas": "5"}, {"enabled": True, "min_replicas": 0, "max_replicas": 5}),
        ("no_scaling_delay", {"max_replicas": "5"}, {"enabled": False, "replicas": 5}),
        ("always_available", {"min_replicas": "2"}, {"enabled": True, "min_replicas": 2, "max_replicas": 3}),
        ("", {"min_replicas": "2"}, {"enabled": True, "min_replicas": 2, "max_replicas": 3}),
        ("lowest_cost", {"max_replicas": "many"}, {"enabled": True, "min_replicas": 0, "max_replicas": "many"}),
        ("no_scaling_delay", {"fixed": "on", "replicas": "0"}, {"enabled": False, "replicas": 0}),
        ("lowest_cost", {"max_replicas": ""}, {"enabled": True, "min_replicas": 0, "max_replicas": 3}),
    ],
    ids=[
        "sets the min",
        "takes the typed max",
        "fixes the number",
        "chosen before",
        "none",
        "max unreadable",
        "zero replicas",
        "no max",
    ],
)
def test_a_preset_counts_when_it_was_chosen_anew_else_the_numbers_do(preset, changes, expected):
    asked = typed(preset=preset, **changes).body["autoscaling"]
    assert {name: asked.get(name) for name in expected} == expected


def test_a_fixed_number_becomes_a_range_again_by_a_preset():
    asked = typed(changed(CURRENT, autoscaling=Fixed(replicas=5)), preset="lowest_cost").body["autoscaling"]
    assert (asked["enabled"], asked["min_replicas"], asked["max_replicas"]) == (True, 0, 5)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"fixed": "on", "replicas": "4"}, (4, 4)),
        ({"min_replicas": "0", "max_replicas": "1,000"}, (0, 1000)),
        ({"min_replicas": "5", "max_replicas": "2"}, (5, 5)),
        ({"min_replicas": "", "max_replicas": "lots"}, (1, 1)),
    ],
)
def test_figures_beside_the_form_read_what_they_can(texts, expected):
    blank = {"fixed": "", "replicas": "", "min_replicas": "", "max_replicas": ""}
    assert replica_range_fields.read_bounds({**blank, **texts}) == expected


@pytest.mark.parametrize("value", [0.1, 1 / 3, 3600.0, 0.123456789012345, 8192, 1e-7])
def test_a_number_shown_reads_as_the_same_number(value):
    assert typed_numbers.read_number(typed_numbers.write_number(value)) == value


def test_rows_left_empty_are_no_adapters_and_the_one_to_remove_is_gone():
    data = {"adapter-0-repository": " ", "adapter-2-name": "late", "adapter-10-repository": "a/b",
            "adapter-3-repository": "c/d", "adapter-x-name": "no row", "remove_adapter": "3"}  # fmt: skip
    assert typed_rows(data) == [
        {"repository": "", "name": "late", "revision": ""},
        {"repository": "a/b", "name": "", "revision": ""},
    ]


def test_errors_stand_at_the_rows_that_people_see_in_the_order_of_the_page():
    rows = {f"adapter-{number}-repository": f"a/b{number}" for number in range(1, 12)}
    form = typed_form({**sent(CURRENT), **rows, "adapter-2-name": "No", "adapter-10-name": "No", "context_length": "x"},
                      OPTIONS, CURRENT)  # fmt: skip
    assert [(problem.field_id, problem.title) for problem in form.problems] == [
        ("adapter-2-name", "Name of adapter 3"),
        ("adapter-10-name", "Name of adapter 11"),
        ("context_length", "Context length"),
    ]
    assert form.errors["context_length"] == ["Enter a number, such as 16."]
    assert form.has_advanced_problems


def test_settings_of_another_engine_are_not_sent():
    body = typed(engine="vllm").body["engine"]
    assert body == {"name": "vllm", "context_length": 8192, "max_concurrency": 16, "prefix_caching": True}


def test_a_row_is_added_without_judging_what_was_typed():
    form = typed(context_length="x").add_row()
    assert len(form.adapter_rows.forms) == 2
    assert not form.errors
    assert form.texts["context_length"] == "x"


def test_every_declared_setting_has_a_field_with_its_title_and_bounds():
    form = empty_form(OPTIONS, "small", "default")
    concurrency = form["max_concurrency"]
    assert (concurrency.label, concurrency.value()) == ("Max concurrency", "16")
    assert concurrency.help_text.endswith("1 to 1,024.")
    assert set(FIELDS) <= set(form.fields)


def test_a_new_form_asks_for_what_the_api_would_choose():
    form = empty_form(OPTIONS, "small", "default")
    again = typed_form({**form.texts, "name": "chat"}, OPTIONS)
    assert again.is_valid()
    assert again.spec == parse(LEAST, OPTIONS)


def test_a_clone_is_filled_with_everything_but_what_is_given():
    form = filled_form(CURRENT, OPTIONS, name="chat-2")
    assert (form.texts["name"], form.texts["model"], form.texts["context_length"]) == ("chat-2", "large", "8,192")
    assert form.rows == [{"repository": "northwind/sql", "name": "sql", "revision": ""}]


NEWER = changed(
    CURRENT,
    engine=CURRENT.configuration.engine.model_copy(update={"max_concurrency": 24}),
    autoscaling=CURRENT.configuration.autoscaling.model_copy(update={"max_replicas": 6}),
)
BASE = CURRENT.to_json()


def merged(newer=NEWER, **changes):
    return merge_onto_current(typed_form(sent(CURRENT, **changes), OPTIONS, newer), BASE)


def test_what_both_changed_keeps_what_was_typed_and_all_else_is_as_it_is_now():
    form, both = merged(max_replicas="4", context_length="4,096")
    assert both == ["max replicas"]
    body = form.body
    assert body["autoscaling"]["max_replicas"] == 4
    assert (body["engine"]["context_length"], body["engine"]["max_concurrency"]) == (4096, 24)


def test_two_people_who_typed_the_same_have_nothing_to_settle():
    assert merged(max_replicas="6")[1] == []


def test_adapters_are_settled_as_one():
    theirs = changed(CURRENT, adapters=())
    left_alone, _ = merged(theirs)
    assert left_alone.rows == []
    mine, both = merged(theirs, **{"adapter-1-repository": "northwind/tone"})
    assert [row["repository"] for row in mine.rows] == ["northwind/sql", "northwind/tone"]
    assert both == ["adapters"]


def test_two_lines_of_one_label_are_refused_and_not_merged():
    form = typed(labels="team=a\nteam=b\nurl=x")
    assert not form.is_valid()
    assert form.errors["labels"] == ["team: Two lines have this name. Keep one."]


def test_too_many_adapters_are_an_error_at_the_adapters():
    rows = {f"adapter-{number}-repository": f"lab/a{number}" for number in range(70)}
    form = typed_form({**sent(CURRENT), **rows}, OPTIONS, CURRENT)
    assert len(form.rows) == 70
    assert [problem.field_id for problem in form.problems] == ["adapters"]
