from datetime import UTC, datetime

import pytest

from console.components import formats


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0:00"), (9.9, "0:09"), (252, "4:12"), (3599, "59:59"), (12_000, "3 h 20 min"), (-1, "0:00")],
)
def test_a_duration_is_minutes_and_seconds_and_over_an_hour_hours_and_minutes(seconds, words):
    assert formats.format_elapsed(seconds) == words


def test_a_moment_of_today_is_a_time_and_an_earlier_one_has_its_day():
    now = datetime(2026, 11, 21, 14, 4, 12, tzinfo=UTC)
    assert formats.format_moment(now.replace(hour=3), now) == "03:04:12"
    assert formats.format_moment(now.replace(day=12), now) == "12 Nov 14:04"
    assert formats.format_moment(now.replace(year=2025), now) == "21 Nov 2025 14:04"


@pytest.mark.parametrize(
    ("words", "text"), [([], ""), (["0"], "0"), (["0", "1"], "0 and 1"), (["0", "1", "2"], "0, 1 and 2")]
)
def test_words_are_joined_as_in_a_sentence(words, text):
    assert formats.join_words(words) == text


@pytest.mark.parametrize(
    ("count", "shown"),
    [(None, "–"), (494_032_768, "494 M"), (999_885_952, "1 B"), (8_030_261_248, "8.03 B"), (671_026_419_200, "671 B")],
    ids=["unknown", "millions", "almost_a_billion", "billions", "hundreds_of_billions"],
)
def test_parameters_have_three_digits_and_the_larger_unit(count, shown):
    assert formats.format_parameters(count) == shown


@pytest.mark.parametrize(
    ("numbers", "words"), [([], ""), ([4], "4"), ([0, 1], "0–1"), ([8, 0, 3, 1, 2, 6], "0–3, 6 and 8")]
)
def test_neighbours_are_one_range(numbers, words):
    assert formats.format_ranges(numbers) == words
