"""The ranges that the form offers."""

import pytest

from deployments.config.replica_range_presets import PRESETS, matching


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 4, "lowest_cost"),
        (1, 4, "always_available"),
        (4, 4, "no_scaling_delay"),
        (1, 1, "always_available"),
        (2, 4, None),
    ],
    ids=["sleeps", "one always", "fixed", "one, fixed", "of one's own"],
)
def test_a_range_names_its_preset(low, high, expected):
    found = matching(low, high)
    assert (found.id if found else None) == expected


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.id)
def test_a_preset_keeps_the_maximum_and_says_what_it_costs(preset):
    low, high = preset.range_for(3)
    assert (high, low <= high) == (3, True)
    assert all(words.endswith(".") for words in (preset.cost, preset.wait, preset.suits))


def test_one_preset_is_recommended():
    assert [preset.id for preset in PRESETS if preset.is_recommended] == ["always_available"]
