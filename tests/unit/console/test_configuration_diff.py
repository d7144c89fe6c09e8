"""Changes of a configuration in words."""

import pytest

from console.deployments.configuration_diff import format_title, format_value, make_diff_lines


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("engine.max_concurrency", "Max concurrency"),
        ("adapters.sql.repository", "Adapter sql"),
        ("adapters.v1.2.revision", "Adapter v1.2, revision"),
        ("labels.team", "Label team"),
        ("engine.speculative_tokens", "Speculative tokens"),
    ],
)
def test_a_field_is_named_as_on_the_form(field, words):
    assert format_title(field) == words


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("engine.context_length", 8192, "8,192 tokens"),
        ("autoscaling.scale_down_delay_seconds", 300, "300 s"),
        ("engine.simulator.ttft_ms", 120.0, "120 ms"),
        ("engine.prefix_caching", True, "on"),
        ("engine.simulator.fail", "out_of_memory", "Runs out of GPU memory"),
        ("description", "", "–"),
        ("labels.team", None, "–"),
    ],
)
def test_a_value_has_its_unit(field, value, words):
    assert format_value(field, value) == words


def test_only_what_a_revision_holds_restarts():
    found = make_diff_lines(
        [
            {"field": "engine.max_concurrency", "before": 16, "after": 32},
            {"field": "autoscaling.max_replicas", "before": 3, "after": 6},
        ]
    )
    assert [(line.before, line.after, line.restarts) for line in found] == [
        ("16 requests", "32 requests", True),
        ("3", "6", False),
    ]
