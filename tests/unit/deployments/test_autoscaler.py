"""How many replicas a load needs: the table of cases, the arithmetic of the mean, and what is remembered."""

import json
from datetime import timedelta

import pytest

from deployments.reconciler.autoscaler import Memory, Range, Rules, Signals, decide, mean
from tests.unit.deployments.autoscaler_scene import Scene
from tests.unit.deployments.snapshots import NOW, ago

RULES = Rules()
DELAY = 300
ONE_TO_EIGHT = Range(1, 8, DELAY)


def seen(load=0.0, current=1, **changes):
    """`load` requests in flight on `current` replicas, each with 16 slots: 11.2 are meant for each."""
    values = {"waiting": 0, "oldest_waiting_seconds": 0.0, "ready": current, "starting": 0, "epoch": "e"} | changes
    return Signals(load=load, max_concurrency=16, current=current, **values)


def remembered(*peaks, since=DELAY, load=0.0, epoch="e"):
    """A memory whose data began `since` seconds ago, with the same load all the time; peaks are (seconds ago, n)."""
    seconds = range(min(60, since), 0, -2)
    samples = tuple((ago(second), load) for second in seconds)
    return Memory(epoch, ago(since), samples, tuple((ago(second), replicas) for second, replicas in peaks))


def decided(scale, now, memory=None):
    return decide(scale, now, memory or Memory(), RULES, NOW)


# Up


@pytest.mark.parametrize(
    ("load", "current", "expected"),
    [(0, 1, 1), (11, 1, 1), (11.2, 1, 1), (12, 1, 2), (22.4, 2, 2), (23, 2, 3), (112, 8, 8), (45, 4, 5), (900, 4, 8)],
    ids=["none", "within the share", "the share", "above it", "two shares", "a bit more", "no noise of floats",
         "five", "at the maximum"],
)  # fmt: skip
def test_a_steady_load_gets_one_replica_for_each_share_of_its_concurrency(load, current, expected):
    assert decided(ONE_TO_EIGHT, seen(load, current), remembered(load=load)).replicas == expected


@pytest.mark.parametrize(("current", "expected"), [(1, 2), (2, 4), (3, 6), (5, 8)])
def test_one_step_at_most_doubles(current, expected):
    assert decided(ONE_TO_EIGHT, seen(900, current), remembered(load=900)).replicas == expected


def test_a_moment_of_load_does_not_outweigh_a_quiet_minute():
    assert decided(ONE_TO_EIGHT, seen(100), remembered(load=0)).replicas == 1


@pytest.mark.parametrize(
    ("load", "current", "ready", "starting", "waited", "expected"),
    [
        (3, 1, 1, 0, 1.9, 1),
        (3, 1, 1, 0, 2.0, 1),
        (3, 1, 1, 0, 2.1, 2),
        (3, 2, 1, 1, 9.0, 2),
        (3, 4, 1, 3, 9.0, 4),
        (40, 2, 1, 1, 9.0, 4),
        (3, 8, 8, 0, 9.0, 8),
        (3, 2, 3, 0, 9.0, 3),
    ],
    ids=["short wait", "just not", "one more than is ready", "that one is on its way", "more are on their way",
         "the load of this moment counts", "not above the maximum", "a surplus one in a roll is not counted"],
)  # fmt: skip
def test_a_backlog_asks_for_more_than_is_ready_but_not_twice(load, current, ready, starting, waited, expected):
    now = seen(load, current, ready=ready, starting=starting, waiting=3, oldest_waiting_seconds=waited)
    assert decided(ONE_TO_EIGHT, now, remembered(load=0)).replicas == expected


def test_a_jump_from_nothing_to_the_maximum_takes_six_steps_and_a_few_seconds():
    """2,500 requests at 11.2 each are 224 replicas; 64 are allowed."""
    scene = Scene(Range(1, 64, DELAY), start_seconds=40)
    scene.run(120, load=0)
    steps = scene.run(30, load=2500)
    assert [count for _, count in steps] == [2, 4, 8, 16, 32, 64]
    assert steps[-1][0] - 120 <= 10


def test_five_replicas_are_ordered_within_seconds_where_a_padded_mean_takes_eight_minutes():
    """2,500 at once, 500 meant for each: a mean over ten minutes that begins with zeros says five after 48 looks."""
    scene = Scene(Range(1, 5, DELAY), max_concurrency=500, rules=Rules(target_share=1.0))
    scene.run(600, load=0)
    assert [count for _, count in scene.run(30, load=2500)] == [2, 4, 5]
    assert scene.changes[-1][0] - 600 <= 10


def test_data_that_began_just_now_is_not_padded_with_zeros():
    assert decided(ONE_TO_EIGHT, seen(33, current=2)).replicas == 3


# Down


@pytest.mark.parametrize(
    ("current", "peaks", "expected"),
    [
        (4, [(299, 4)], 4),
        (4, [(300, 4)], 2),
        (4, [(301, 4), (200, 3)], 3),
        (4, [(250, 2)], 2),
        (8, [], 4),
        (3, [], 2),
        (2, [], 1),
        (1, [], 1),
    ],
    ids=["still needed", "the delay is over", "less was needed since", "two were needed", "at most half go",
         "half of three is one", "to the minimum", "never to none"],
)  # fmt: skip
def test_it_comes_down_to_what_was_needed_within_the_delay(current, peaks, expected):
    assert decided(ONE_TO_EIGHT, seen(0, current), remembered(*peaks)).replicas == expected


@pytest.mark.parametrize(
    ("memory", "now"),
    [
        (Memory(), seen(0, 4)),
        (remembered(since=299), seen(0, 4)),
        (remembered(since=3000, epoch="before"), seen(0, 4)),
        (Memory("e", ago(3000), ((ago(61), 0.0),)), seen(0, 4)),
        (Memory("e", ago(3000), ((ago(-900), 0.0),)), seen(0, 4)),
        (remembered(), seen(None, 4)),
        (remembered(), seen(0, 4, ready=3, starting=1)),
        (remembered(), seen(60, 4)),
    ],
    ids=["nothing known", "data is younger than the delay", "another Redis", "a hole in the data", "a clock set back",
         "an unknown load", "a replica that starts", "somebody would have to wait"],
)  # fmt: skip
def test_silence_that_proves_nothing_takes_no_replica_away(memory, now):
    assert decided(ONE_TO_EIGHT, now, memory).replicas == 4


def test_after_the_load_it_comes_down_to_the_minimum_after_the_delay_and_not_before():
    scene = Scene(Range(1, 8, DELAY))
    scene.run(200, load=80)
    steps = scene.run(DELAY + 90, load=0)
    assert scene.current == 1
    assert 200 + DELAY <= steps[0][0] <= steps[-1][0] <= 200 + DELAY + 70


# Unknown, another epoch, the clock


def test_an_unknown_load_changes_nothing_and_is_no_sample():
    memory = remembered((10, 3))
    found = decided(ONE_TO_EIGHT, seen(None, 3), memory)
    assert (found.replicas, found.memory, found.code) == (3, memory, None)


def test_an_unknown_load_of_a_minute_begins_the_delay_anew():
    scene = Scene(Range(1, 8, DELAY))
    scene.run(60, load=80)
    scene.run(DELAY, load=0, unknown=lambda second: 100 <= second - 60 <= 170)
    assert not scene.run(100, load=0)
    assert scene.run(200, load=0)[0][0] >= 60 + 170 + DELAY


def test_another_epoch_forgets_what_was():
    found = decided(ONE_TO_EIGHT, seen(5, epoch="f"), remembered((10, 3), load=90))
    assert found.memory == Memory("f", NOW, ((NOW, 5.0),), ((NOW, 1),))


def test_a_clock_set_back_keeps_what_was_needed_and_begins_the_delay_anew():
    memory = Memory("e", ago(900), ((ago(0), 5.0),), ((ago(250), 4), (ago(200), 3), (ago(1), 2)))
    earlier = NOW - timedelta(seconds=225)
    found = decide(ONE_TO_EIGHT, seen(5, 4), memory, RULES, earlier).memory
    assert (found.since, found.peaks) == (earlier, ((ago(250), 4), (earlier, 3), (earlier, 1)))


def test_a_clock_that_hops_back_a_second_between_workers_loses_nothing():
    memory = remembered((10, 3), since=1000)
    found = decide(ONE_TO_EIGHT, seen(5, 3), memory, RULES, ago(3)).memory
    assert (found.since, found.samples) == (memory.since, memory.samples)


def test_a_clock_that_hops_back_stands_still_in_the_mean():
    memory = Memory("e", ago(2), ((ago(2), 0.0), (NOW, 100.0)))
    assert decide(ONE_TO_EIGHT, seen(100, 5), memory, RULES, ago(1.9)).inputs["mean_load"] == 50


# What people set


@pytest.mark.parametrize(
    ("scale", "current", "expected", "code"),
    [
        (Range(3, 3, DELAY), 1, 3, "range_fixed"),
        (Range(1, 1, DELAY), 8, 1, "range_fixed"),
        (Range(2, 2, DELAY), 2, 2, None),
        (Range(4, 8, DELAY), 1, 4, "range_minimum"),
        (Range(0, 2, DELAY), 7, 2, "range_maximum"),
        (Range(0, 2, DELAY), 0, 1, "range_minimum"),
        (Range(0, 1, DELAY), 0, 1, "range_minimum"),
    ],
    ids=["fixed, up", "fixed, down", "fixed, there", "raised", "lowered", "awake is one at least", "zero or one"],
)
@pytest.mark.parametrize("load", [0.0, None], ids=["silent", "unknown"])
def test_what_people_set_holds_at_once(scale, current, expected, code, load):
    found = decided(scale, seen(load, current))
    assert (found.replicas, found.code) == (expected, code)


def test_a_fixed_number_keeps_no_data():
    assert decided(Range(2, 2, DELAY), seen(90, 2), remembered((10, 2))).memory.to_json() == {}


# Why


@pytest.mark.parametrize(
    ("now", "memory", "code", "facts"),
    [
        (seen(45, 4), remembered(load=45), "load_rose", (45, 5, "load", False)),
        (seen(40, 1, oldest_waiting_seconds=3.14), remembered(), "backlog", (40, 4, "load", True)),
        (seen(3, 1, oldest_waiting_seconds=3.14), remembered(), "backlog", (3, 2, "backlog", False)),
        (seen(400, 5), remembered(load=400), "load_rose", (400, 8, "range", False)),
        (seen(0, 2), remembered(), "load_fell", (0, 1, "range", False)),
        (seen(0, 8), remembered((9, 2)), "load_fell", (0, 1, "range", True)),
    ],
    ids=["mean", "backlog", "one more than is ready", "as many as allowed", "down", "down by steps"],
)
def test_the_reason_holds_what_was_counted_and_why_that_many_are_needed(now, memory, code, facts):
    reason = decided(ONE_TO_EIGHT, now, memory).reason
    assert reason.code == code
    names = ("counted_load", "needed", "needed_by", "is_limited")
    assert tuple(reason.facts[name] for name in names) == facts


def test_without_a_change_there_is_no_reason():
    assert decided(ONE_TO_EIGHT, seen(5, 1), remembered(load=5)).reason is None


def test_the_inputs_are_every_number_that_was_looked_at():
    now = seen(40, 2, ready=1, starting=1, waiting=24, oldest_waiting_seconds=3.14159)
    found = dict(decided(ONE_TO_EIGHT, now, remembered((9, 3), load=20)).inputs)
    mean_load = found.pop("mean_load")
    assert 20 < mean_load < 21
    assert json.loads(json.dumps(found)) == {
        "load": 40, "waiting": 24, "oldest_waiting_seconds": 3.14, "max_concurrency": 16, "wanted_before": 2,
        "ready": 1, "starting": 1, "lowest": 1, "min_replicas": 1, "max_replicas": 8, "scale_down_delay_seconds": 300,
        "most_needed": 4, "data_seconds": 300.0, "epoch": "e", "mean_seconds": 60, "counted_load": 40,
        "is_backlog": True, "queue_wait_seconds": 2, "target_percent": 70, "load_per_replica": 11.2, "needed": 4,
        "needed_by": "load", "is_limited": False,
    }  # fmt: skip


# The mean


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([(0, 7)], 7),
        ([(10, 4), (0, 4)], 4),
        ([(10, 0), (0, 10)], 5),
        ([(40, 10), (30, 10), (29, 0), (0, 0)], 105 / 40),
        ([(59, 0), (1, 60), (0, 60)], (58 * 30 + 60) / 59),
        ([(0, 3), (0, 9)], 9),
        ([(80, 0), (40, 40), (0, 40)], (20 * 30 + 40 * 40) / 60),
        ([(600, 8), (0, 8)], 8),
    ],
    ids=["one sample", "steady", "a slope", "irregular", "a gap", "two at one moment", "cut at the edge",
         "both far out"],
)  # fmt: skip
def test_the_mean_weighs_each_load_with_its_time(samples, expected):
    assert mean([(ago(second), load) for second, load in samples], ago(60)) == pytest.approx(expected)


# Memory


def test_memory_survives_its_json_and_stays_small():
    scene = Scene(Range(1, 64, DELAY), step_seconds=0.37)
    scene.run(400, load=2000)
    scene.run(200, load=0)
    text = json.dumps(scene.memory.to_json(), separators=(",", ":"))
    assert Memory.from_json(json.loads(text), scene.memory.load_known_at) == scene.memory
    assert len(scene.memory.samples) <= 32
    assert len(text) < 2048


def test_a_load_that_stays_the_same_leaves_the_json_as_it_is():
    scene = Scene(Range(1, 64, DELAY))
    scene.run(200, load=3)
    before, known_at = scene.memory.to_json(), scene.memory.load_known_at
    scene.run(400, load=3)
    assert scene.memory.to_json() == before
    assert scene.memory.load_known_at > known_at


def test_nothing_known_is_an_empty_object():
    assert Memory.from_json({}, None) == Memory()
    assert Memory().to_json() == {}
