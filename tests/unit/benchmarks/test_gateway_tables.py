import pytest

from benchmarks.gateway import tables, verdicts
from benchmarks.gateway.measurements import Plan
from benchmarks.gateway.statistics import summarize
from benchmarks.gateway.verdicts import Verdict

PLAN = Plan()


def rate(server_core, failed=0.0):
    figures = {
        "cpu_us": [20.0, 19.0, 21.0], "system_share": [0.5], "requests_per_second": [30_000.0],
        "server_core": [server_core], "load_core": [1.0], "failed": [failed],
    }  # fmt: skip
    return {name: summarize(values) for name, values in figures.items()}


def test_a_figure_is_printed_with_its_spread():
    assert tables.format_spread(summarize([1200.0, 1000.0, 1500.0]), 0) == "1,200 (1,000–1,500)"
    assert tables.format_spread(summarize([2.0]), 1) == "2.0"
    assert tables.format_spread(summarize([0.756]), None) == "76%"


def test_a_rate_that_the_load_limits_is_marked():
    text = tables.format_scenario(verdicts.RATE, {"nginx": rate(0.62), "gateway": rate(1.0)}, PLAN)

    assert "nginx: used 62% of its core: what runs on the other cores limits the requests/s" in text
    assert "gateway: used" not in text


def test_failed_requests_are_reported():
    text = tables.format_scenario(verdicts.RATE, {"gateway": rate(1.0, failed=3.0)}, PLAN)

    assert "gateway: up to 3 requests failed in a round" in text


def test_columns_that_no_server_has_are_left_out():
    assert "Valkey" not in tables.format_scenario(verdicts.RATE, {"nginx": rate(1.0)}, PLAN)


@pytest.mark.parametrize(
    ("verdict", "cells"),
    [
        (
            Verdict("CPU a request", "µs", 40.0, 20.0, True, 2.0, 1.9, 2.2, 1 / 0.6, 1 / 0.35),
            ["40.00 µs", "20.00 µs", "2.00 (1.90–2.20) × nginx", "≤ 1.67", "≤ 2.86", "above the floor"],
        ),
        (
            Verdict("memory a stream", "kB", 9.0, 2.0, False, 9.0, 9.0, 9.0, 10.0),
            ["9.0 kB", "2.0 kB", "9.0 (9.0–9.0) kB", "≤ 10.0", "–", "goal met"],
        ),
    ],
)
def test_a_verdict_is_printed_with_what_is_judged_goal_and_floor(verdict, cells):
    row = tables.format_verdicts([verdict]).splitlines()[-1]

    assert [cell.strip() for cell in row.split("  ") if cell.strip()] == [verdict.title, *cells]
