import pytest

from benchmarks.gateway import verdicts
from benchmarks.gateway.statistics import summarize
from benchmarks.gateway.verdicts import Verdict, judge


def figures(scenario, figure, nginx, gateway):
    return {scenario: {"nginx": {figure: summarize([nginx])}, "gateway": {figure: summarize([gateway])}}}


@pytest.mark.parametrize(
    ("gateway", "outcome"), [(20.0, "goal met"), (33.3, "goal met"), (40.0, "above the floor"), (57.2, "missed")]
)
def test_a_request_is_judged_by_its_cpu_time_as_a_multiple_of_nginx(gateway, outcome):
    (verdict,) = judge(figures(verdicts.RATE, verdicts.REQUEST_CPU, 20.0, gateway))

    assert verdict.outcome == outcome
    assert (round(verdict.goal, 2), round(verdict.floor or 0, 2)) == (33.33, 57.14)


@pytest.mark.parametrize(
    ("scenario", "figure", "nginx", "goal"),
    [
        (verdicts.STREAMS, verdicts.CHUNK_CPU, 10.0, 14.0),
        (verdicts.PACED, verdicts.ADDED_P99, 0.1, 0.4),
        (verdicts.HELD, verdicts.STREAM_MEMORY, 2.0, 10.0),
    ],
)
def test_a_figure_without_a_floor_meets_its_goal_or_misses_it(scenario, figure, nginx, goal):
    (met,) = judge(figures(scenario, figure, nginx, goal))
    (missed,) = judge(figures(scenario, figure, nginx, goal * 1.01))

    assert (met.outcome, missed.outcome, met.goal) == ("goal met", "missed", goal)


def test_the_median_of_the_rounds_is_judged():
    measured = figures(verdicts.HELD, verdicts.STREAM_MEMORY, 2.0, 9.0)
    measured[verdicts.HELD]["gateway"][verdicts.STREAM_MEMORY] = summarize([9.0, 9.5, 100.0])

    assert [verdict.value for verdict in judge(measured)] == [9.5]


def test_what_was_not_measured_is_not_judged():
    assert judge({}) == []
    assert judge({verdicts.RATE: {"gateway": {verdicts.REQUEST_CPU: summarize([1.0])}}}) == []


def test_a_floor_that_is_met_is_not_a_goal_that_is_met():
    assert Verdict("CPU", "µs", 50.0, 20.0, 30.0, 60.0).outcome == "above the floor"
