import pytest

from benchmarks.gateway import verdicts
from benchmarks.gateway.statistics import summarize
from benchmarks.gateway.verdicts import judge


def figures(scenario, figure, nginx, gateway):
    return {scenario: {"nginx": {figure: summarize([nginx])}, "gateway": {figure: summarize([gateway])}}}


@pytest.mark.parametrize(
    ("gateway", "outcome"), [(20.0, "goal met"), (33.3, "goal met"), (40.0, "above the floor"), (57.2, "missed")]
)
def test_a_request_is_judged_by_its_cpu_time_as_a_multiple_of_nginx(gateway, outcome):
    (verdict,) = judge(figures(verdicts.RATE, verdicts.REQUEST_CPU, 20.0, gateway))

    assert verdict.outcome == outcome
    assert verdict.value == pytest.approx(gateway / 20)
    assert (round(verdict.goal, 3), round(verdict.floor or 0, 3)) == (1.667, 2.857)


def test_a_round_is_compared_with_the_same_round_of_nginx():
    measured = figures(verdicts.RATE, verdicts.REQUEST_CPU, 20.0, 20.0)
    measured[verdicts.RATE]["nginx"][verdicts.REQUEST_CPU] = summarize([20.0, 40.0, 60.0])
    measured[verdicts.RATE]["gateway"][verdicts.REQUEST_CPU] = summarize([30.0, 60.0, 120.0])

    (verdict,) = judge(measured)

    assert (verdict.value, verdict.least, verdict.greatest) == (1.5, 1.5, 2.0)
    assert (verdict.gateway, verdict.nginx) == (60.0, 40.0)


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

    assert (met.outcome, missed.outcome) == ("goal met", "missed")


def test_the_median_of_the_rounds_is_judged():
    measured = figures(verdicts.PACED, verdicts.ADDED_P99, 0.1, 0.3)
    measured[verdicts.PACED]["gateway"][verdicts.ADDED_P99] = summarize([0.2, 0.3, 100.0])

    assert [verdict.value for verdict in judge(measured)] == [0.3]


def test_what_was_not_measured_is_not_judged():
    assert judge({}) == []
    assert judge({verdicts.RATE: {"gateway": {verdicts.REQUEST_CPU: summarize([1.0])}}}) == []
