"""Why it scaled, in the words and sums of the timeline."""

from datetime import UTC, datetime, timedelta

from console.deployments.scaling_decision import KNOWN_INPUTS, explain_decision
from deployments.reconciler.autoscaler import Memory, Range, Rules, Signals, decide

INPUTS = {
    "load": 31, "waiting": 3, "oldest_waiting_seconds": 1.24, "max_concurrency": 16, "wanted_before": 2, "ready": 2,
    "starting": 0, "min_replicas": 1, "max_replicas": 6, "scale_down_delay_seconds": 300, "most_needed": 3,
    "data_seconds": 412.5, "epoch": "e1", "mean_load": 28.6, "load_per_replica": 11.2, "needed": 3,
}  # fmt: skip


def told(**changed: object) -> dict[str, tuple[str, str]]:
    data = {"from": 2, "to": 3, "inputs": INPUTS | changed}
    return {one.name: (one.how, one.value) for one in explain_decision(data)}


def test_every_number_that_was_looked_at_is_shown_with_its_unit():
    assert told() == {
        "Load": ("requests in flight and waiting", "31"),
        "Waiting": ("the oldest for 1.2 s", "3"),
        "Mean load": ("over the last minute", "28.6"),
        "Target per replica": ("16 max concurrency × 70 %", "11.2"),
        "Needed now": ("28.6 ÷ 11.2, rounded up", "3"),
        "Needed lately": ("the most within the scale-down delay of 5:00", "3"),
        "Wanted before": ("2 ready, 0 starting", "2"),
        "Range": ("replicas that the deployment allows", "1–6"),
        "Decided": ("up at once, at most doubled", "3 replicas"),
    }


def test_the_division_shown_is_the_one_that_gave_the_number():
    assert told(mean_load=5.0)["Needed now"][0] == "31 ÷ 11.2, rounded up, as requests are waiting"
    assert told(needed=6)["Needed now"][0] == "load ÷ target, kept within the range"


def test_a_mean_over_less_than_its_minute_says_so():
    assert told(data_seconds=12)["Mean load"][0] == "over 12 s, all data so far"


def test_what_is_unknown_is_left_out_and_what_is_new_is_shown_under_its_own_name():
    shown = told(load=None, queue_wait_seconds=2.5)
    assert "Load" not in shown
    assert shown["Queue wait"] == ("", "2.5 s")


def test_no_number_of_the_autoscaler_is_without_words():
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    seen = Signals(30, 2, 3.0, 16, 1, 1, 0, "e1")
    decision = decide(Range(1, 6, 300), seen, Memory("e1", now - timedelta(minutes=9)), Rules(), now)
    assert decision.replicas > 1
    assert set(decision.inputs) <= KNOWN_INPUTS


def test_an_event_without_inputs_explains_nothing():
    assert explain_decision({"from": 1, "to": 2}) == ()
