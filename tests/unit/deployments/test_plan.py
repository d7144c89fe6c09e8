"""The policy of one pass: what is started, drained, stopped, ended, and when it is enough."""

from dataclasses import replace
from datetime import timedelta

import pytest

from deployments.codes import Reason, StopReason
from deployments.reconciler import backoff
from deployments.reconciler.plan import conclude, plan
from deployments.reconciler.plan_actions import Confirm, Drain, End, GiveUp, MarkUnknown, Record, Resume, Start, Stop
from deployments.reconciler.snapshot import Listing, PoolView
from deployments.states import STARTING_ORDER, DeploymentStatus, ReplicaState
from tests.unit.deployments.snapshots import (
    NOW,
    POLICY,
    a_deployment,
    a_load,
    a_replica,
    a_snapshot,
    ago,
    an_exit,
    seen,
)

R = ReplicaState
ENDING = a_deployment(terminate_requested_at=ago(1))


def acts(snapshot):
    """The actions besides the recording of what was seen."""
    return [action for action in plan(snapshot) if not isinstance(action, Record)]


def a_failure(id, ended, **changes):
    values = {"released_at": ago(ended), "created_at": ago(ended + 5), "failed": True} | changes
    return a_replica(id, R.FAILED, **values)


# How many


@pytest.mark.parametrize(("desired", "running", "missing"), [(1, 0, 1), (3, 1, 2), (2, 2, 0)])
def test_starts_what_is_missing(desired, running, missing):
    replicas = [a_replica(str(number), R.READY) for number in range(running)]
    observed = tuple(seen(replica.id, R.READY) for replica in replicas)
    snapshot = a_snapshot(*replicas, observed=observed, deployment=a_deployment(desired_replicas=desired))
    assert acts(snapshot) == ([Start(missing)] if missing else [])


def test_a_surplus_goes_the_least_far_on_first():
    replicas = [
        a_replica("old", R.READY, created_at=ago(90)),
        a_replica("new", R.READY, created_at=ago(60)),
        a_replica("starting", R.DOWNLOADING_MODEL),
    ]
    observed = tuple(seen(replica.id, replica.state) for replica in replicas)
    assert acts(a_snapshot(*replicas, observed=observed)) == [Stop("starting", "surplus"), Drain("new")]


def test_what_drains_or_stops_does_not_count():
    replicas = [a_replica("a", R.DRAINING, drain_started_at=ago(5)), a_replica("b", R.STOPPING)]
    observed = (seen("a", R.READY, healthy=False), seen("b", R.READY))
    assert acts(a_snapshot(*replicas, observed=observed)) == [Stop("b", None), Start(1)]


def test_a_draining_replica_that_is_wanted_again_comes_back_instead_of_a_new_one():
    replica = a_replica("a", R.DRAINING, drain_started_at=ago(5))
    assert acts(a_snapshot(replica, observed=(seen("a", R.READY),))) == [Resume("a")]


def test_nothing_is_decided_without_word_from_the_cluster():
    assert plan(a_snapshot(listing=Listing(NOW, complete=False, reachable=False))) == ()


# Termination


@pytest.mark.parametrize("state", STARTING_ORDER)
def test_termination_stops_what_is_starting_at_once(state):
    snapshot = a_snapshot(a_replica("a", state), observed=(seen("a", state),), deployment=ENDING)
    assert acts(snapshot) == [Stop("a", "terminated")]


def test_termination_drains_what_is_ready():
    snapshot = a_snapshot(a_replica("a", R.READY), observed=(seen("a", R.READY),), deployment=ENDING)
    assert acts(snapshot) == [Drain("a")]


@pytest.mark.parametrize(
    ("load", "since", "expected"),
    [
        (a_load(), 1, [Stop("a", "drained")]),
        (a_load(in_flight={"a": 2}), 1, []),
        (a_load(in_flight={"a": 2}), 60, [Stop("a", "drain_limit")]),
        (a_load(serving=frozenset({"a"})), 1, []),
        (a_load(epoch="another"), 59, []),
        (None, 59, []),
        (None, 60, [Stop("a", "drain_limit")]),
    ],
    ids=["idle", "busy", "busy at the limit", "still offered", "another Redis", "unknown", "unknown at the limit"],
)
def test_a_drain_ends_when_idle_or_at_the_limit(load, since, expected):
    replica = a_replica("a", R.DRAINING, drain_started_at=ago(since), drain_epoch="e1")
    snapshot = a_snapshot(replica, observed=(seen("a", R.READY),), deployment=ENDING, load=load)
    assert acts(snapshot) == expected


def test_a_stop_is_asked_for_until_it_is_confirmed():
    replica = a_replica("a", R.STOPPING, stop_requested_at=ago(3))
    assert acts(a_snapshot(replica, observed=(seen("a", R.READY),), deployment=ENDING)) == [Stop("a", None)]
    gone = seen("a", R.READY, exited=an_exit(0, ago(1)))
    assert acts(a_snapshot(replica, observed=(gone,), deployment=ENDING)) == [End("a", ago(1), gone.exited)]


def test_what_crashes_while_it_is_ending_is_no_failure():
    gone = seen("a", R.READY, exited=an_exit(1))
    snapshot = a_snapshot(a_replica("a", R.READY), observed=(gone,), deployment=ENDING)
    assert acts(snapshot) == [End("a", NOW, gone.exited)]


# Adopt and record


def test_every_state_entered_since_is_recorded_with_the_time_of_the_provider():
    stamps = {R.DOWNLOADING_MODEL: ago(15), R.ENGINE_INITIALIZING: ago(6), R.READY: ago(2)}
    snapshot = a_snapshot(a_replica("a", R.REQUESTING_GPU), observed=(seen("a", R.READY, stamps=stamps),))
    (record,) = plan(snapshot)
    assert record.steps == tuple(stamps.items())
    assert record.serving


def test_stamps_never_go_back_and_never_lie_in_the_future():
    stamps = {R.DOWNLOADING_MODEL: ago(500), R.ENGINE_INITIALIZING: ago(-500), R.READY: ago(2)}
    snapshot = a_snapshot(a_replica("a", R.REQUESTING_GPU), observed=(seen("a", R.READY, stamps=stamps),))
    (record,) = plan(snapshot)
    assert [at for _, at in record.steps] == [ago(20), NOW, NOW]


def test_a_phase_that_the_provider_never_stamped_is_left_out():
    snapshot = a_snapshot(a_replica("a", R.REQUESTING_GPU), observed=(seen("a", R.ENGINE_INITIALIZING),))
    (record,) = plan(snapshot)
    assert record.steps == ((R.ENGINE_INITIALIZING, NOW),)


def test_a_start_that_the_cluster_does_not_show_is_asked_for_again():
    assert acts(a_snapshot(a_replica("a", R.REQUESTING_GPU, last_seen_at=None))) == [Confirm("a")]


def test_a_stale_listing_proves_no_absence():
    stale = Listing(NOW, staleness_seconds=60)
    assert plan(a_snapshot(a_replica("a", R.READY), listing=stale)) == ()
    assert plan(a_snapshot(a_replica("a", R.STOPPING, stop_requested_at=ago(5)), listing=stale)) == (Start(1),)
    assert plan(a_snapshot(a_replica("a", R.READY), listing=Listing(NOW, complete=False))) == ()


def test_what_never_showed_up_and_was_asked_to_stop_has_ended():
    replica = a_replica("a", R.STOPPING, last_seen_at=None, stop_requested_at=ago(2), state_since=ago(2))
    assert acts(a_snapshot(replica, deployment=ENDING)) == [End("a", ago(2))]


# Failures


def test_a_crash_is_a_failure_and_nothing_starts_before_its_back_off():
    gone = seen("a", R.READY, exited=an_exit(1, ago(0.9)))
    assert acts(a_snapshot(a_replica("a", R.READY), observed=(gone,))) == [
        End("a", ago(0.9), gone.exited, crashed=True)
    ]


def test_the_third_failure_gives_up_in_the_pass_that_sees_it():
    gone = seen("c", R.READY, exited=an_exit(1, ago(1)))
    snapshot = a_snapshot(
        a_failure("a", 20), a_failure("b", 10), a_replica("c", R.READY, created_at=ago(6)), observed=(gone,)
    )
    assert acts(snapshot) == [End("c", ago(1), gone.exited, crashed=True), GiveUp(3)]


def test_the_confirmed_end_of_a_failure_begins_its_back_off():
    replica = a_replica("a", R.STOPPING, failed=True, stop_requested_at=ago(3))
    gone = seen("a", R.ENGINE_INITIALIZING, exited=an_exit(0, NOW))
    assert acts(a_snapshot(replica, observed=(gone,))) == [End("a", NOW, gone.exited)]


@pytest.mark.parametrize("state", [*STARTING_ORDER, R.READY, R.DRAINING, R.STOPPING])
@pytest.mark.parametrize("observed_at", [ago(1), ago(15 * 3600)], ids=["watched", "after a night"])
def test_what_was_seen_and_has_no_record_any_more_is_unknown_and_is_not_replaced(state, observed_at):
    replica = a_replica("a", state, last_seen_at=ago(0.9), stop_requested_at=ago(5), drain_started_at=ago(5))
    assert acts(a_snapshot(replica, deployment=a_deployment(observed_at=observed_at))) == [MarkUnknown("a", ago(0.9))]
    ending = a_deployment(observed_at=observed_at, terminate_requested_at=ago(9))
    assert acts(a_snapshot(replica, deployment=ending)) == [MarkUnknown("a", ago(0.9))]


@pytest.mark.parametrize("changes", [{}, {"terminate_requested_at": ago(9)}, {"failed_at": ago(9)}])
def test_an_unknown_replica_is_left_as_it_is_and_takes_the_place_of_a_new_one(changes):
    unknown = a_replica("a", R.UNKNOWN, serving=False)
    assert acts(a_snapshot(unknown, deployment=a_deployment(**changes))) == []


def test_what_is_missing_beside_an_unknown_replica_is_started():
    unknown, ready = a_replica("a", R.UNKNOWN), a_replica("b", R.READY)
    observed = (seen("b", R.READY),)
    assert acts(a_snapshot(unknown, ready, observed=observed, deployment=a_deployment(desired_replicas=2))) == []
    assert acts(a_snapshot(unknown, ready, observed=observed, deployment=a_deployment(desired_replicas=3))) == [
        Start(1)
    ]
    assert acts(a_snapshot(unknown, ready, observed=observed)) == []


def test_an_unknown_replica_that_is_declared_gone_failed_at_its_last_sighting_and_is_replaced():
    gone = a_replica("a", R.UNKNOWN, state_since=ago(40), gone_declared_at=ago(1))
    assert acts(a_snapshot(gone)) == [End("a", ago(40), crashed=True), Start(1)]


def test_replicas_that_were_declared_gone_do_not_give_a_deployment_up():
    gone = [a_failure(name, 20, gone_declared_at=ago(1)) for name in "abc"]
    assert acts(a_snapshot(*gone)) == [Start(1)]


def test_an_unknown_replica_that_is_shown_again_takes_its_state_from_the_cluster():
    unknown = a_replica("a", R.UNKNOWN, serving=False, gone_declared_at=ago(1))
    (record,) = plan(a_snapshot(unknown, observed=(seen("a", R.READY),)))
    assert (record.steps, record.serving) == (((R.READY, NOW),), True)
    asked = a_replica("a", R.UNKNOWN, stop_requested_at=ago(9))
    record, stop = plan(a_snapshot(asked, observed=(seen("a", R.READY),), deployment=ENDING))
    assert (record.steps, stop) == (((R.STOPPING, NOW),), Stop("a", None))


def test_an_exit_record_ends_an_unknown_replica():
    ended = seen("a", R.READY, exited=an_exit(None, ago(30)))
    end = acts(a_snapshot(a_replica("a", R.UNKNOWN), observed=(ended,)))[0]
    assert (end.at, end.exited) == (ago(30), ended.exited)


def test_a_rolling_update_goes_on_beside_an_unknown_replica():
    unknown, old = a_replica("a", R.UNKNOWN), a_replica("b", R.READY)
    snapshot = a_snapshot(
        unknown, old, observed=(seen("b", R.READY),), pool=PoolView(total=8, free=4),
        deployment=a_deployment(desired_replicas=2, spec_hash="v2"),
    )  # fmt: skip
    assert acts(snapshot) == [Start(1)]


@pytest.mark.parametrize(
    ("state", "limit"), [(R.REQUESTING_GPU, 600), (R.DOWNLOADING_MODEL, 3600), (R.ENGINE_INITIALIZING, 600)]
)
def test_every_starting_phase_has_a_deadline(state, limit):
    late = a_replica("a", state, state_since=ago(limit + 1))
    in_time = a_replica("a", state, state_since=ago(limit))
    observed = (seen("a", state),)
    assert acts(a_snapshot(late, observed=observed)) == [Stop("a", "failed", f"deadline:{state}")]
    assert acts(a_snapshot(in_time, observed=observed)) == []


def test_a_probe_that_fails_takes_it_out_of_the_routes_and_after_the_deadline_it_fails():
    sick = seen("a", R.READY, healthy=False)
    (record,) = plan(a_snapshot(a_replica("a", R.READY), observed=(sick,)))
    assert (record.serving, record.unhealthy_since) == (False, NOW)
    longer = a_replica("a", R.READY, serving=False, unhealthy_since=ago(61))
    assert acts(a_snapshot(longer, observed=(sick,))) == [Stop("a", "failed", "unhealthy")]
    (record,) = plan(a_snapshot(longer, observed=(seen("a", R.READY),)))
    assert (record.serving, record.unhealthy_since) == (True, None)


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        ([0.5], []),
        ([1], [Start(1, replacing=True)]),
        ([3.9, 20], []),
        ([4, 20], [Start(1, replacing=True)]),
        ([2, 20, 40], [GiveUp(3)]),
        ([601], [Start(1)]),
        ([2, 700, 710], [Start(1, replacing=True)]),
    ],
    ids=["1 s", "after 1 s", "4 s", "after 4 s", "three", "long ago", "two chains"],
)
def test_failures_are_followed_by_longer_and_longer_waits(ended, expected):
    failures = [a_failure(str(number), seconds) for number, seconds in enumerate(ended)]
    assert acts(a_snapshot(*failures)) == expected


def test_failures_by_a_deadline_of_ten_minutes_still_form_a_chain():
    chain = [a_failure("a", 1210, created_at=ago(1811)), a_failure("b", 605, created_at=ago(1206)),
             a_failure("c", 1, created_at=ago(601))]  # fmt: skip
    assert acts(a_snapshot(*chain)) == [GiveUp(3)]


def test_what_ran_for_a_day_before_it_failed_starts_a_new_chain():
    chain = [
        a_failure("a", 90_020),
        a_failure("b", 90_010),
        a_failure("c", 2, created_at=ago(90_005), ready_at=ago(90_000)),
    ]
    assert acts(a_snapshot(*chain)) == [Start(1, replacing=True)]


def test_given_up_releases_the_gpus_unless_somebody_still_serves():
    latched = a_deployment(desired_replicas=2, failed_at=ago(5))
    starting, ready = a_replica("s", R.ENGINE_INITIALIZING), a_replica("r", R.READY)
    observed = (seen("s", R.ENGINE_INITIALIZING), seen("r", R.READY))
    assert acts(a_snapshot(starting, observed=observed, deployment=latched)) == [Stop("s", "deployment_failed")]
    assert acts(a_snapshot(starting, ready, observed=observed, deployment=latched)) == []


# The console was away


AWAY = a_deployment(observed_at=ago(15 * 3600))


@pytest.mark.parametrize(
    "observed",
    [(seen("a", R.READY, exited=an_exit(None, ago(50_000))),), (seen("a", R.READY, exited=an_exit(-15, ago(9))),)],
    ids=["heartbeat stopped", "switched off"],
)
def test_what_ended_by_no_fault_while_nobody_looked_is_replaced_at_once(observed):
    snapshot = a_snapshot(
        a_replica("a", R.READY, last_seen_at=ago(50_010)), observed=observed, deployment=AWAY, up_since=ago(5)
    )
    end, start = acts(snapshot)
    assert (end.crashed, end.reason, start) == (False, StopReason.ENDED_UNOBSERVED, Start(1))
    assert end.at == observed[0].exited.at


def test_what_ended_with_its_machine_is_no_failure_however_many_there_are():
    ended = an_exit(None, ago(5), machine_restarted=True)
    observed = tuple(seen(name, R.READY, exited=ended) for name in "abc")
    snapshot = a_snapshot(*(a_replica(name, R.READY) for name in "abc"), observed=observed)
    ends = [action for action in acts(snapshot) if isinstance(action, End)]
    assert [(end.crashed, end.reason) for end in ends] == [(False, StopReason.MACHINE_RESTARTED)] * 3


def test_a_crash_while_nobody_looked_is_a_failure_all_the_same():
    gone = seen("a", R.READY, exited=an_exit(1, ago(50_000)))
    assert acts(a_snapshot(a_replica("a", R.READY), observed=(gone,), deployment=AWAY, up_since=ago(5)))[0].crashed


def test_what_was_never_seen_before_the_console_went_away_is_replaced():
    never = a_replica("a", R.REQUESTING_GPU, last_seen_at=None, state_since=ago(55_000), created_at=ago(55_000))
    end, start = acts(a_snapshot(never, deployment=AWAY, up_since=ago(5)))
    assert (end.crashed, end.at, start) == (False, ago(55_000), Start(1))


def test_what_was_intended_in_a_first_pass_that_never_ended_is_replaced_too():
    never = a_replica("a", R.REQUESTING_GPU, last_seen_at=None, state_since=ago(55_000), created_at=ago(55_000))
    end, start = acts(a_snapshot(never, deployment=a_deployment(observed_at=None), up_since=ago(5)))
    assert (end.crashed, end.at, start) == (False, ago(55_000), Start(1))


def test_a_pass_that_is_only_late_proves_no_absence():
    gone = seen("a", R.READY, exited=an_exit(-9, ago(50)))
    late, up_since = a_deployment(observed_at=ago(90)), ago(3600)
    assert acts(a_snapshot(a_replica("a", R.READY), observed=(gone,), deployment=late, up_since=up_since))[0].crashed


# What to tell people, and when to look again

S = DeploymentStatus
TABLE = [
    ("ending with replicas", ENDING, [R.READY], S.TERMINATING, ""),
    ("ending without", ENDING, [R.STOPPED], S.TERMINATED, ""),
    ("given up", a_deployment(failed_at=NOW), [], S.FAILED, ""),
    ("given up but serving", a_deployment(failed_at=NOW), [R.READY], S.RUNNING, ""),
    ("asking", a_deployment(), [R.REQUESTING_GPU], S.DEPLOYING, "REQUESTING_GPU"),
    ("furthest on", a_deployment(), [R.REQUESTING_GPU, R.ENGINE_INITIALIZING], S.DEPLOYING, "ENGINE_INITIALIZING"),
    ("only leaving", a_deployment(), [R.STOPPING], S.SCALING, ""),
    ("nothing", a_deployment(), [], S.PENDING, ""),
    ("only ended", a_deployment(), [R.FAILED], S.PENDING, ""),
    ("fewer than wanted", a_deployment(desired_replicas=2), [R.READY, R.DOWNLOADING_MODEL], S.SCALING, ""),
    ("more than wanted", a_deployment(), [R.READY, R.READY], S.SCALING, ""),
    ("only unknown", a_deployment(), [R.UNKNOWN], S.SCALING, ""),
    ("one of two unknown", a_deployment(desired_replicas=2), [R.READY, R.UNKNOWN], S.SCALING, ""),
    ("ending, one unknown", ENDING, [R.UNKNOWN], S.TERMINATING, ""),
    ("asleep, one unknown", a_deployment(asleep_since=ago(9)), [R.UNKNOWN], S.SLEEPING, ""),
    ("as wanted", a_deployment(desired_replicas=2), [R.READY, R.READY], S.RUNNING, ""),
]


@pytest.mark.parametrize(
    ("deployment", "states", "expected", "phase"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_the_status_follows_from_the_rows(deployment, states, expected, phase):
    replicas = [a_replica(str(number), state) for number, state in enumerate(states)]
    outcome = conclude(deployment, replicas, POLICY, NOW)
    assert (outcome.status, outcome.phase) == (expected, phase)


def test_replicas_of_two_revisions_are_rolling():
    replicas = [a_replica("a", R.READY), a_replica("b", R.DRAINING, spec_hash="v2")]
    assert conclude(a_deployment(), replicas, POLICY, NOW).status == S.ROLLING


@pytest.mark.parametrize(
    ("deployment", "replicas", "seconds"),
    [
        (ENDING, [], None),
        (a_deployment(failed_at=NOW), [], None),
        (a_deployment(failed_at=NOW), [a_replica("a", R.STOPPING)], 1),
        (a_deployment(), [a_replica("a", R.DOWNLOADING_MODEL)], 1),
        (a_deployment(), [a_replica("a", R.READY)], 5),
        (a_deployment(), [a_replica("a", R.READY, serving=False)], 1),
        (a_deployment(pending_since=ago(9)), [], 5),
        (a_deployment(), [a_failure("a", 0), a_failure("b", 9)], 4),
    ],
    ids=["ended", "failed", "failed, stopping", "moving", "steady", "unhealthy", "waiting", "backing off"],
)
def test_when_to_look_again(deployment, replicas, seconds):
    due = conclude(deployment, replicas, POLICY, NOW).next_due_at
    assert (None if due is None else (due - NOW).total_seconds()) == seconds


def test_a_wait_after_a_failure_is_explained():
    replicas = [a_failure("a", 0), a_failure("b", 9)]
    reason = conclude(a_deployment(), replicas, POLICY, NOW).reason
    not_before = (NOW + timedelta(seconds=4)).isoformat()
    assert reason == Reason("back_off", failures=2, attempts=3, not_before=not_before)


def test_the_load_of_old_replicas_is_sampled_while_an_update_waits_after_a_failure():
    replicas = [a_replica("old", R.READY, spec_hash="old"), a_failure("a", 0), a_failure("b", 9)]
    concluded = conclude(a_deployment(max_replicas=2), replicas, POLICY, NOW)
    assert concluded.next_due_at == NOW + timedelta(seconds=POLICY.autoscaler.sample_seconds)


def test_an_update_that_waits_after_a_failure_is_explained_while_the_old_replicas_serve():
    replicas = [a_replica("old", R.READY, spec_hash="old"), a_failure("a", 0)]
    concluded = conclude(a_deployment(), replicas, POLICY, NOW)
    not_before = NOW + timedelta(seconds=1)
    assert concluded.reason == Reason("back_off", failures=1, attempts=3, not_before=not_before.isoformat())
    assert concluded.next_due_at == not_before


@pytest.mark.parametrize(
    ("deployment", "replicas", "delays"),
    [
        (a_deployment(), [], True),
        (a_deployment(), [a_replica("b", R.READY, spec_hash="old")], True),
        (a_deployment(), [a_replica("b", R.STOPPING)], True),
        (a_deployment(), [a_replica("b", R.REQUESTING_GPU)], False),
        (a_deployment(), [a_replica("b", R.UNKNOWN, spec_hash="old")], False),
        (a_deployment(desired_replicas=2), [a_replica("b", R.READY)], True),
        (a_deployment(desired_replicas=0), [], False),
        (a_deployment(failed_at=NOW), [], False),
        (a_deployment(terminate_requested_at=NOW), [], False),
    ],
    ids=[
        "none",
        "an older one",
        "an ending one",
        "replaced",
        "an unknown one",
        "one of two",
        "asleep",
        "given up",
        "terminating",
    ],
)
def test_a_failure_delays_a_start_while_a_replica_is_missing(deployment, replicas, delays):
    assert backoff.compute(deployment, [*replicas, a_failure("a", 0)], POLICY, NOW).delays_start == delays


def test_a_deadline_leaves_time_for_the_weights():
    policy = replace(POLICY, floor_mib_per_second={"DOWNLOADING_MODEL": 20})
    slow = a_replica("a", R.DOWNLOADING_MODEL, state_since=ago(3700), weight_bytes=20 * 2**20 * 200)
    observed = (seen("a", R.DOWNLOADING_MODEL),)
    assert acts(replace(a_snapshot(slow, observed=observed), policy=policy)) == []
    late = replace(slow, state_since=ago(3801))
    assert acts(replace(a_snapshot(late, observed=observed), policy=policy)) == [
        Stop("a", "failed", "deadline:DOWNLOADING_MODEL")
    ]
