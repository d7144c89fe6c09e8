import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.gateway.statistics import percentile, summarize


def test_a_spread_names_the_middle_and_both_ends():
    spread = summarize([3.0, 1.0, 10.0])

    assert (spread.median, spread.least, spread.greatest) == (3.0, 1.0, 10.0)
    assert spread.rounds == (3.0, 1.0, 10.0)


def test_a_spread_needs_a_round():
    with pytest.raises(ValueError, match="no round"):
        summarize([])


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (100, 100), (1, 1), (0, 1)])
def test_a_percentile_is_one_of_the_values(percent, expected):
    assert percentile(range(100, 0, -1), percent) == expected


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 100))
def test_at_least_so_many_values_do_not_exceed_a_percentile(values, percent):
    bound = percentile(values, percent)

    assert sum(value <= bound for value in values) >= len(values) * percent / 100 - 1e-9


def test_a_percentile_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="needs values"):
        percentile([], 50)
