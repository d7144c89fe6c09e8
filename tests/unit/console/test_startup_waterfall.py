from datetime import UTC, datetime, timedelta

import pytest

from console.components.measured_starts import describe_starts
from console.deployments.startup_waterfall import Phase, draw_waterfall
from deployments.queries import Durations

BEGIN = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)
USUAL = {
    "REQUESTING_GPU": Durations(20, 45, 1, 22),
    "DOWNLOADING_MODEL": Durations(190, 300, 1, 22),
    "ENGINE_INITIALIZING": Durations(85, 130, 1, 22),
}


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def test_a_download_under_way_shows_what_was_what_is_and_what_is_to_come():
    chart = draw_waterfall(
        [Phase("REQUESTING_GPU", BEGIN, at(18)), Phase("DOWNLOADING_MODEL", at(18), None)], USUAL, at(167)
    )
    requesting, downloading, initializing = chart.bars
    assert (requesting.state, requesting.length, requesting.elapsed) == ("done", 18, "0:18")
    assert (downloading.state, downloading.begin, downloading.length) == ("going", 18, 149)
    assert (downloading.elapsed, downloading.usual) == ("2:29", "of 3:10")
    assert (initializing.state, initializing.begin, initializing.elapsed) == ("coming", 208, "–")
    assert chart.now == 167
    assert chart.elapsed == "2:47"
    assert chart.ready_about_at == at(18 + 190 + 85)
    assert chart.ready_by_at == at(18 + 300 + 130)
    assert chart.count == 22


def test_the_scale_ends_at_a_whole_tick_beyond_everything_drawn():
    chart = draw_waterfall(
        [Phase("REQUESTING_GPU", BEGIN, at(18)), Phase("DOWNLOADING_MODEL", at(18), None)], USUAL, at(167)
    )
    assert chart.width >= 18 + 300 + 130
    assert chart.ticks[0] == "0:00"
    assert chart.grid[-1] == chart.width
    assert len(chart.ticks) == len(chart.grid) <= 10


def test_a_phase_that_takes_longer_than_usual_moves_the_forecast_with_the_clock():
    chart = draw_waterfall([Phase("REQUESTING_GPU", BEGIN, None)], USUAL, at(40))
    assert chart.ready_about_at == at(40 + 190 + 85)


def test_a_phase_that_takes_longer_than_nearly_all_says_so_and_forecasts_nothing():
    chart = draw_waterfall([Phase("REQUESTING_GPU", BEGIN, None)], USUAL, at(100))
    assert chart.is_late
    assert chart.ready_about_at is None
    assert chart.width > 100


def test_without_earlier_starts_nothing_is_promised():
    chart = draw_waterfall([Phase("REQUESTING_GPU", BEGIN, None)], {}, at(3))
    assert chart.ready_about_at is None
    assert chart.count == 0
    assert all(bar.p50 is None and bar.usual == "" for bar in chart.bars)


def test_a_start_that_is_over_has_no_needle_and_names_the_phase_that_did_not_happen():
    chart = draw_waterfall(
        [Phase("REQUESTING_GPU", BEGIN, at(2)), Phase("ENGINE_INITIALIZING", at(2), at(9))], USUAL, at(500)
    )
    assert chart.now is None
    assert chart.elapsed == "0:09"
    assert [bar.state for bar in chart.bars] == ["done", "skipped", "done"]


@pytest.mark.parametrize("seconds", [0, 0.4, 3, 59, 61, 4000, 90_000])
def test_any_length_has_a_readable_number_of_ticks(seconds):
    chart = draw_waterfall([Phase("REQUESTING_GPU", BEGIN, None)], {}, at(seconds))
    assert 2 <= len(chart.ticks) <= 10
    assert chart.width > 0


def test_a_phase_that_began_after_the_page_read_its_clock_has_no_length_yet():
    chart = draw_waterfall(
        [Phase("REQUESTING_GPU", BEGIN, at(2)), Phase("DOWNLOADING_MODEL", at(2), None)], USUAL, at(1.99)
    )
    assert [bar.length for bar in chart.bars] == [2, 0, 0]
    assert chart.now == 2


def test_a_start_that_began_after_the_page_read_its_clock_is_drawn_at_its_beginning():
    chart = draw_waterfall([Phase("REQUESTING_GPU", BEGIN, None)], USUAL, at(-0.01))
    assert chart.bars[0].length == 0
    assert chart.now == 0


def test_a_start_that_has_not_begun_has_all_its_phases_before_it():
    chart = draw_waterfall([], USUAL, at(0))
    assert [bar.state for bar in chart.bars] == ["coming"] * 3
    assert [bar.begin for bar in chart.bars] == [0, 20, 210]
    assert (chart.now, chart.ready_about_at, chart.elapsed) == (None, None, "0:00")


@pytest.mark.parametrize(
    ("durations", "words"),
    [
        (Durations(42, 42, 42, 1), "0:42, based on 1 earlier start"),
        (Durations(42, 51, 38, 4), "0:38 to 0:51, based on 4 earlier starts"),
        (Durations(42, 51, 38, 30), "0:42, p95 0:51, based on 30 earlier starts"),
    ],
)
def test_few_starts_have_no_p95(durations, words):
    assert describe_starts(durations) == words
