import pytest

from benchmarks.gateway.processes import (
    Cores,
    find_descendants,
    parse_busy_seconds,
    parse_resident_bytes,
    parse_stat,
    place_on_cores,
)

STAT = "71 (a (odd) name) S 7 71 71 0 -1 4194560 900 0 0 0 250 125 11 12 20 0 4 0 900 0 0"
CPUS = """cpu  300 0 30 9000 10 3 4 5 0 0
cpu0 100 1 10 4000 5 1 2 3 7 8
cpu1 200 2 20 5000 5 2 2 2 0 0
intr 12 0 3
"""


def test_the_times_of_a_process_are_found_behind_a_name_with_parentheses():
    stat = parse_stat(STAT, ticks_per_second=100)

    assert (stat.parent, stat.user_seconds, stat.system_seconds) == (7, 2.5, 1.25)


def test_resident_memory_is_read_in_bytes():
    assert parse_resident_bytes("Name:\tx\nVmHWM:\t  99 kB\nVmRSS:\t    1234 kB\nThreads:\t1\n") == 1234 * 1024


def test_a_process_that_has_ended_has_no_memory():
    with pytest.raises(ValueError, match="VmRSS"):
        parse_resident_bytes("Name:\tx\nState:\tZ (zombie)\n")


@pytest.mark.parametrize(("cores", "ticks"), [({0}, 117), ({1}, 228), ({0, 1}, 345), ({5}, 0)])
def test_busy_time_counts_neither_idle_time_nor_guests_twice(cores, ticks):
    assert parse_busy_seconds(CPUS, cores, ticks_per_second=100) == ticks / 100


def test_descendants_are_found_through_every_generation():
    parents = {1: 0, 10: 1, 11: 10, 12: 11, 20: 1}

    assert find_descendants(parents, 10) == [10, 11, 12]


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        ([3], Cores(server=3, load=3, replica=3, valkey=3)),
        ([1, 0], Cores(server=0, load=1, replica=1, valkey=1)),
        ([0, 1, 2], Cores(server=0, load=1, replica=2, valkey=2)),
        ([0, 1, 2, 3, 4, 5], Cores(server=0, load=1, replica=2, valkey=3)),
    ],
)
def test_parts_share_a_core_only_where_there_are_too_few(available, expected):
    assert place_on_cores(available) == expected


def test_the_report_says_what_shares_a_core():
    text = place_on_cores([0, 1]).describe()

    assert text == "core 0: the server under test; core 1: Valkey, replica, load (shared)"
