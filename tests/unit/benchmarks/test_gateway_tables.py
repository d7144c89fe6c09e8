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


def test_a_verdict_is_printed_with_goal_floor_and_ratio():
    text = tables.format_verdicts([Verdict("CPU a request", "µs", 40.0, 20.0, 33.333, 57.143)])

    (row,) = [line.split("  ") for line in text.splitlines() if line.startswith("CPU a request")]
    assert [cell.strip() for cell in row if cell.strip()] == [
        "CPU a request (µs)", "40.0", "20.0", "0.500", "≤ 33.3", "≤ 57.1", "above the floor",
    ]  # fmt: skip
