"""Why it scaled, in the words and sums of the timeline."""

from datetime import UTC, datetime, timedelta

from console.deployments.scaling_decision import KNOWN_INPUTS, explain_decision
from deployments.reconciler.autoscaler import Memory, Range, Rules, Signals, decide

INPUTS = {
    "load": 31, "waiting": 3, "oldest_waiting_seconds": 1.24, "max_concurrency": 16, "wanted_before": 2, "ready": 2,
    "starting": 0, "min_replicas": 1, "max_replicas": 6, "scale_down_delay_seconds": 300, "most_needed": 3,
    "data_seconds": 412.5, "epoch": "e1", "mean_load": 28.6, "mean_seconds": 60, "target_percent": 70,
    "load_per_replica": 11.2, "needed": 3, "needed_by": "load", "counted_load": 28.6, "is_backlog": False,
}  # fmt: skip


def told(**changed: object) -> dict[str, tuple[str, str]]:
    facts = {"from": 2, "to": 3, "reason": {"code": "load_rose", "facts": INPUTS | changed}}
    return {term.name: (term.how, term.value) for term in explain_decision(facts)}


def test_every_number_that_was_looked_at_is_shown_with_its_unit():
    assert told() == {
        "Load": ("requests in flight and waiting", "31"),
        "Waiting": ("the oldest for 1.2 s", "3"),
        "Mean load": ("over 60 s", "28.6"),
        "Target per replica": ("16 max concurrency × 70 %", "11.2"),
        "Needed now": ("28.6 ÷ 11.2, rounded up", "3"),
        "Needed lately": ("the most within the scale-down delay of 5:00", "3"),
        "Wanted before": ("2 ready, 0 starting", "2"),
        "Range": ("replicas that the deployment allows", "1–6"),
        "Decided": ("up at once", "3 replicas"),
    }


def test_the_basis_of_what_is_needed_is_the_one_that_was_stored():
    """Shown as stored, also where a division of the numbers beside it would give another result."""
    backlog = told(counted_load=31.0, is_backlog=True, needed=9)["Needed now"]
    assert backlog == ("31 ÷ 11.2, rounded up: the present load, as requests are waiting", "9")
    assert told(needed_by="backlog")["Needed now"][0] == "one more than is ready, as requests are waiting"
    assert told(needed_by="range")["Needed now"][0] == "28.6 ÷ 11.2, rounded up, kept within the range"
    assert told(target_percent=65)["Target per replica"][0] == "16 max concurrency × 65 %"


def test_a_step_that_is_limited_says_so():
    assert told(is_limited=True)["Decided"][0] == "up at once, one step at most doubles"


def test_a_mean_over_less_than_its_minute_says_so():
    assert told(data_seconds=12)["Mean load"][0] == "over 12 s, all data so far"


def test_what_is_unknown_is_left_out_and_what_is_new_is_shown_under_its_own_name():
    shown = told(load=None, cooling_seconds=2.5)
    assert "Load" not in shown
    assert shown["Cooling"] == ("", "2.5 s")


def test_no_number_of_the_autoscaler_is_without_words():
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    seen = Signals(30, 2, 3.0, 16, 1, 1, 0, "e1")
    decision = decide(Range(1, 6, 300), seen, Memory("e1", now - timedelta(minutes=9)), Rules(), now)
    assert decision.replicas > 1
    assert set(decision.inputs) <= KNOWN_INPUTS


def test_an_event_without_inputs_explains_nothing():
    assert explain_decision({"from": 1, "to": 2}) == ()
