"""What the form of a deployment reads from what was typed."""

import pytest

from console.deployments import number_input, scaling_fields
from console.deployments.forms import ADAPTER_PARTS, AdapterRow, DeploymentForm, read_adapter_rows, rebase

BODY = {
    "name": "chat", "description": "one\ntwo", "endpoint": "default",
    "model": {"source": "catalog", "id": "small"},
    "adapters": [{"name": "sql", "repository": "northwind/sql", "revision": ""}],
    "engine": {"simulator": None, "name": "vllm", "context_length": 8192, "max_concurrency": 16,
               "prefix_caching": True},
    "gpu": {"type": "l40s-48gb", "count": 1},
    "autoscaling": {"enabled": True, "min_replicas": 1, "max_replicas": 3, "scale_down_delay_seconds": 300,
                    "sleep_after_seconds": None},
    "labels": {"a=b": "with = and\na line", "team": ""},
}  # fmt: skip


def sent(form, **typed):
    """What a browser sends for the form after somebody typed."""
    fields = {f"adapter-{place}-{part}": getattr(row, part)
              for place, row in enumerate(form.adapters) for part in ADAPTER_PARTS}  # fmt: skip
    return {name: text.replace("\n", "\r\n") for name, text in {**form.values, **fields, **typed}.items()}


def typed(body=BODY, **changes):
    return DeploymentForm.from_data(sent(DeploymentForm.from_body(body), **changes), body)


def test_a_form_sent_back_as_it_was_shown_asks_for_the_same_even_where_a_field_cannot_show_all():
    body = typed().body
    assert body["labels"] == BODY["labels"]
    assert body["description"] == BODY["description"]
    assert body["autoscaling"] == {name: value for name, value in BODY["autoscaling"].items() if value is not None}
    assert body["adapters"] == [{"name": "sql", "repository": "northwind/sql"}]


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
        ("lowest_cost", {"max_replicas": "many"}, {"enabled": True, "min_replicas": 0, "max_replicas": 3}),
    ],
    ids=["sets the min", "takes the typed max", "fixes the number", "chosen before", "none", "max unreadable"],
)
def test_a_preset_counts_when_it_was_chosen_anew_else_the_numbers_do(preset, changes, expected):
    asked = typed(preset=preset, **changes).body["autoscaling"]
    assert {name: asked.get(name) for name in expected} == expected


def test_a_fixed_number_becomes_a_range_again_by_a_preset():
    fixed = {**BODY, "autoscaling": {"enabled": False, "replicas": 5}}
    asked = typed(fixed, preset="lowest_cost").body["autoscaling"]
    assert (asked["enabled"], asked["min_replicas"], asked["max_replicas"]) == (True, 0, 5)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"fixed": "on", "replicas": "4"}, (4, 4)),
        ({"min_replicas": "0", "max_replicas": "1,000"}, (0, 1000)),
        ({"min_replicas": "5", "max_replicas": "2"}, (5, 5)),
        ({"min_replicas": "", "max_replicas": "lots"}, (1, 1)),
    ],
)
def test_figures_beside_the_form_read_what_they_can(values, expected):
    assert (
        scaling_fields.read_bounds({"fixed": "", "replicas": "", "min_replicas": "", "max_replicas": "", **values})
        == expected
    )


@pytest.mark.parametrize("value", [0.1, 1 / 3, 3600.0, 0.123456789012345, 8192, 1e-7])
def test_a_number_shown_reads_as_the_same_number(value):
    assert number_input.parse_number(number_input.format_typed(value)) == value


def test_rows_left_empty_are_no_adapters_and_the_one_to_remove_is_gone():
    data = {"adapter-0-repository": " ", "adapter-2-name": "late", "adapter-10-repository": "a/b",
            "adapter-3-repository": "c/d", "adapter-x-name": "no row", "remove_adapter": "3"}  # fmt: skip
    assert read_adapter_rows(data) == [AdapterRow(name="late"), AdapterRow("a/b")]


def test_errors_stand_at_the_rows_that_people_see_in_the_order_of_the_page():
    form = DeploymentForm.from_data({"adapter-0-name": "x", **{f"adapter-{n}-repository": "a/b" for n in range(1, 12)}})
    form.add_error("labels", "no")
    form.add_error("adapter-10-name", "no")
    form.add_error("adapter-2-name", "no")
    titles = [title for _, title in form.problems]
    assert titles == ["name of adapter 3", "name of adapter 11", "labels"]


NEWER = {
    **BODY,
    "engine": {**BODY["engine"], "max_concurrency": 24},
    "autoscaling": {**BODY["autoscaling"], "max_replicas": 6},
}


def test_what_both_changed_keeps_what_was_typed_and_all_else_is_as_it_is_now():
    form, both = rebase(typed(max_replicas="4", context_length="4,096"), BODY, NEWER)
    assert both == ["max replicas"]
    body = form.body
    assert body["autoscaling"]["max_replicas"] == 4
    assert (body["engine"]["context_length"], body["engine"]["max_concurrency"]) == (4096, 24)


def test_two_people_who_typed_the_same_have_nothing_to_settle():
    assert rebase(typed(max_replicas="6"), BODY, NEWER)[1] == []


def test_adapters_are_settled_as_one():
    theirs = {**BODY, "adapters": []}
    left_alone, _ = rebase(typed(), BODY, theirs)
    assert left_alone.adapters == []
    mine, both = rebase(typed(**{"adapter-1-repository": "northwind/tone"}), BODY, theirs)
    assert [row.repository for row in mine.adapters] == ["northwind/sql", "northwind/tone"]
    assert both == ["adapters"]
