"""What people change of a deployment that exists: edits, roll-backs, and trying again."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection

from deployments import queries, services
from deployments.config.build_spec import parse
from deployments.config.configuration import Gpu, Range
from deployments.config.deployment_spec import RevisionSpec
from deployments.config.normalize import merge
from deployments.models import Deployment, DeploymentEvent, Replica, WorkItem
from deployments.schema.errors import InvalidConfiguration
from deployments.states import DeploymentStatus, ReplicaState
from gateway import contract

pytestmark = pytest.mark.django_db(transaction=True)
BODY = {"name": "chat", "model": {"source": "catalog", "id": "small"}, "gpu": {"type": "l40s-48gb"}}
CAUSE = {"code": "engine_exited", "facts": {"exit_code": 1}, "evidence": "e"}
BACK_OFF = {"code": "back_off", "facts": {"failures": 1, "attempts": 3, "not_before": "2026-11-21T12:00:01+00:00"}}
SHORTAGE = {"code": "gpu_queue", "facts": {"gpu": "L40S", "gpu_count": 1, "replicas": 1, "free": 0, "total": 8}}
S = DeploymentStatus


@pytest.fixture
def deployment(options, organization, user, now):
    return services.create_deployment(
        organization=organization, spec=parse(BODY, options), body=BODY, by=user, now=now
    )[0]


@pytest.fixture
def later(now):
    return now + timedelta(minutes=1)


@pytest.fixture
def patch(deployment, options, user, later):
    """Edit it by a merge patch, at `version` (None: whatever it is)."""

    def patch(changes, version=None, at=later):
        in_force = queries.spec_of(Deployment.objects.get(pk=deployment.pk))
        spec = parse(merge(in_force.to_json(), changes), options, in_force)
        return services.edit(deployment, spec=spec, expected_version=version, by=user, now=at)

    return patch


def events(deployment):
    return list(DeploymentEvent.objects.filter(deployment=deployment).order_by("id"))


def now_of(deployment):
    return Deployment.objects.select_related("revision", "endpoint").get(pk=deployment.pk)


def put(deployment, status, **columns):
    """As the reconciler leaves it."""
    if status in (S.TERMINATING, S.TERMINATED):
        columns["terminate_requested_at"] = deployment.created_at
    if status is S.FAILED:
        columns |= {"failed_at": deployment.created_at, "cause": CAUSE}
    if status is S.SLEEPING:
        columns |= {"asleep_since": deployment.created_at, "desired_replicas": 0}
    Deployment.objects.filter(pk=deployment.pk).update(status=status, **columns)


def fail_replica(deployment, at, **changes):
    row = now_of(deployment)
    values = {"revision": row.revision, "state": ReplicaState.FAILED, "created_at": at, "released_at": at} | changes
    return Replica.objects.create(
        organization=row.organization,
        deployment=row,
        cluster=row.endpoint.cluster,
        gpu_type=row.gpu_type,
        gpu_count=1,
        name=f"r{Replica.objects.count()}",
        state_since=at,
        **values,
    )


def test_what_needs_a_restart_is_a_new_revision(deployment, patch, user, later, store):
    edited = patch({"engine": {"context_length": 4096}})
    row = now_of(deployment)
    assert (edited.revision.number, row.revision_id, row.version) == (2, edited.revision.pk, 2)
    assert (row.updated_at, row.tried_since, row.work.next_due_at) == (later, later, later)
    assert (edited.revision.created_by, edited.revision.restores) == (user, None)
    assert RevisionSpec.from_json(edited.revision.spec).engine.context_length == 4096
    event = events(deployment)[-1]
    assert (event.kind, event.actor, event.at) == ("edited", user.email, later)
    assert event.facts == {
        "changes": [{"field": "engine.context_length", "before": 8192, "after": 4096}],
        "revision": 2,
    }
    route = contract.RouteRecord.from_json(store.hget(contract.ROUTES, str(deployment.pk)))
    assert route.context_length == 4096


def test_everything_else_acts_at_once_and_restarts_nothing(deployment, patch):
    edited = patch({"description": "new", "labels": {"a": "b"}, "autoscaling": {"min_replicas": 2, "max_replicas": 4}})
    row = now_of(deployment)
    assert (edited.revision, row.revision.number, row.version, row.tried_since) == (None, 1, 2, None)
    assert (row.description, row.labels, row.desired_replicas) == ("new", {"a": "b"}, 2)
    assert queries.autoscaling_of(row) == Range(min_replicas=2, max_replicas=4, scale_down_delay_seconds=300)
    assert events(deployment)[-1].facts["revision"] is None


def test_an_edit_that_changes_nothing_leaves_no_trace(deployment, patch):
    before = now_of(deployment)
    edited = patch(queries.spec_of(before).to_json(), version=1)
    assert (edited.revision, edited.changes) == (None, ())
    after = now_of(deployment)
    assert (after.version, after.updated_at, after.work.next_due_at) == (1, before.updated_at, before.work.next_due_at)
    assert len(events(deployment)) == 1


def test_going_back_and_forth_makes_revisions_of_the_same_hash(deployment, patch):
    first = deployment.revision
    patch({"engine": {"max_concurrency": 4}})
    third = patch({"engine": {"max_concurrency": 16}}).revision
    assert (third.number, third.spec_hash, third.spec) == (3, first.spec_hash, first.spec)


def test_of_two_edits_in_a_row_the_last_one_stands(deployment, patch):
    patch({"engine": {"max_concurrency": 4}})
    patch({"engine": {"max_concurrency": 8}})
    row = now_of(deployment)
    assert (row.revision.number, row.revision.spec["engine"]["max_concurrency"]) == (3, 8)


@pytest.mark.parametrize(
    ("before", "desired", "after", "expected"),
    [
        ({}, 3, {"max_replicas": 2, "min_replicas": 1}, 2),
        ({}, 1, {"min_replicas": 3}, 3),
        ({}, 2, {"min_replicas": 0}, 2),
        ({}, 2, {"enabled": False, "replicas": 5}, 5),
        ({"enabled": False, "replicas": 4}, 4, {"enabled": True}, 3),
        ({"enabled": False, "replicas": 4}, 4, {"replicas": 1}, 1),
    ],
)
def test_the_number_of_replicas_moves_as_far_as_the_range_demands(deployment, patch, before, desired, after, expected):
    patch({"autoscaling": before})
    Deployment.objects.update(desired_replicas=desired)
    patch({"autoscaling": after})
    assert now_of(deployment).desired_replicas == expected


@pytest.mark.parametrize("after", [{"min_replicas": 2}, {"enabled": False, "replicas": 2}])
def test_what_sleeps_goes_on_sleeping_until_the_reconciler_wakes_it(deployment, patch, after):
    patch({"autoscaling": {"min_replicas": 0}})
    put(deployment, S.SLEEPING)
    patch({"autoscaling": after})
    row = now_of(deployment)
    assert (row.status, row.desired_replicas, row.min_replicas) == (S.SLEEPING, 0, 2)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "other"}, "name"),
        ({"endpoint": "other"}, "endpoint"),
        ({"gpu": Gpu(type="h100-sxm-80gb", count=1)}, "gpu.type"),
    ],
)
def test_what_never_changes_is_refused_with_the_way_out(deployment, user, later, change, field):
    current = queries.spec_of(deployment)
    configuration = current.configuration.model_copy(update={"description": "new", **change})
    spec = replace(current, configuration=configuration)
    with pytest.raises(InvalidConfiguration, match="Clone") as caught:
        services.edit(deployment, spec=spec, expected_version=None, by=user, now=later)
    assert [(error.field, error.code) for error in caught.value.errors] == [(field, "immutable")]
    assert now_of(deployment).version == 1


def test_an_edit_for_an_older_version_is_told_who_changed_it_and_when(deployment, patch, user, later):
    patch({"description": "mine"}, version=1)
    with pytest.raises(services.VersionConflict, match=r"ada@example\.com") as caught:
        patch({"description": "yours"}, version=1, at=later + timedelta(minutes=1))
    assert (caught.value.current, caught.value.by, caught.value.at) == (2, user.email, later)
    assert now_of(deployment).description == "mine"


def test_an_edit_takes_the_lease_from_a_pass_that_is_under_way(deployment, patch, later):
    """What that pass saw is no longer what is wanted, so it may write nothing any more."""
    token = "6f2c1f6e-7a53-4f7c-9d8f-0a4b8a0c5a11"
    WorkItem.objects.update(lease_token=token, lease_expires_at=later + timedelta(minutes=1))
    patch({"engine": {"max_concurrency": 4}})
    row = now_of(deployment)
    assert (row.work.lease_token, row.work.lease_expires_at, row.work.next_due_at) == (None, None, later)


FIRST, REVISION, RANGE = {"description": "x"}, {"engine": {"max_concurrency": 4}}, {"autoscaling": {"max_replicas": 5}}


@pytest.mark.parametrize(("change", "tries_again"), [(FIRST, False), (REVISION, True), (RANGE, True)])
def test_another_configuration_or_range_of_what_has_failed_is_tried(deployment, patch, later, change, tries_again):
    put(deployment, S.FAILED)
    patch(change)
    row = now_of(deployment)
    if tries_again:
        assert (row.status, row.failed_at, row.cause, row.tried_since) == (S.PENDING, None, None, later)
        assert (row.status_since, row.pending_since) == (later, later)
    else:
        assert (row.status, row.cause, row.tried_since) == (S.FAILED, CAUSE, None)


def test_nothing_is_edited_while_it_terminates_and_afterwards_for_the_next_time(deployment, patch, user, later):
    services.terminate(deployment, by=user, now=later)
    with pytest.raises(services.NotNow, match="Wait until it is TERMINATED"):
        patch(REVISION)
    put(deployment, S.TERMINATED)
    assert patch(REVISION).revision.number == 2
    row = now_of(deployment)
    assert (row.status, row.tried_since, row.version) == (S.TERMINATED, None, 3)


def test_a_deleted_deployment_cannot_be_edited(deployment, patch, user, later):
    put(deployment, S.TERMINATED)
    services.delete(deployment, by=user, now=later)
    with pytest.raises(Deployment.DoesNotExist):
        patch(REVISION)


def test_a_roll_back_is_a_new_revision_with_the_old_configuration(deployment, patch, user, later):
    patch({**REVISION, "description": "kept"})
    put(deployment, S.FAILED)
    rolled = services.rollback(deployment, number=1, by=user, now=later)
    row = now_of(deployment)
    assert (row.revision.number, row.revision.restores, row.version) == (3, 1, 3)
    assert row.revision.spec_hash == deployment.revision.spec_hash
    assert (row.description, row.status, row.tried_since) == ("kept", S.PENDING, later)
    event = events(deployment)[-1]
    assert (event.kind, event.facts["restores"], event.facts["revision"]) == ("rolled_back", 1, 3)
    assert [change.field for change in rolled.changes] == ["engine.max_concurrency"]


def test_a_roll_back_without_a_number_goes_to_the_last_revision_that_differs(deployment, patch, user, later):
    with pytest.raises(services.NotNow, match="No earlier revision"):
        services.rollback(deployment, number=None, by=user, now=later)
    patch(REVISION)
    assert services.rollback(deployment, number=None, by=user, now=later).revision.restores == 1
    assert services.rollback(deployment, number=None, by=user, now=later).revision.restores == 2


@pytest.mark.parametrize("number", [2, 99])
def test_a_roll_back_to_what_never_was_is_refused(deployment, user, later, number):
    with pytest.raises(services.UnknownRevision, match="1 to 1"):
        services.rollback(deployment, number=number, by=user, now=later)


def test_a_roll_back_to_what_is_in_force_is_refused(deployment, patch, user, later):
    patch(REVISION)
    patch({"engine": {"max_concurrency": 16}})
    for number in (1, 3):
        with pytest.raises(services.NotNow, match="already in effect"):
            services.rollback(deployment, number=number, by=user, now=later)
    assert now_of(deployment).version == 3


def test_a_roll_back_for_an_older_version_is_refused(deployment, patch, user, later):
    patch(REVISION)
    with pytest.raises(services.VersionConflict):
        services.rollback(deployment, number=1, expected_version=1, by=user, now=later)


@pytest.mark.parametrize("status", list(S))
def test_only_what_has_failed_can_be_retried(deployment, user, later, status):
    put(deployment, status)
    if status is S.FAILED:
        services.retry(deployment, by=user, now=later)
        assert (deployment.status, deployment.failed_at, deployment.cause) == (S.PENDING, None, None)
        assert (deployment.tried_since, deployment.version, deployment.work.next_due_at) == (later, 2, later)
        assert events(deployment)[-1].kind == "retried"
    else:
        with pytest.raises(services.NotNow, match=status.value if status is not S.TERMINATING else "terminating"):
            services.retry(deployment, by=user, now=later)
        assert now_of(deployment).version == 1


@pytest.mark.parametrize("status", [S.PENDING, S.DEPLOYING, S.SCALING, S.RUNNING])
def test_who_waits_after_a_failure_can_be_retried(deployment, user, now, later, status):
    put(deployment, status, pending_reason=BACK_OFF)
    fail_replica(deployment, now)
    meanwhile = now + timedelta(seconds=0.5)
    services.retry(deployment, by=user, now=meanwhile)
    assert (deployment.tried_since, deployment.status) == (meanwhile, status)
    assert deployment.pending_reason is None
    with pytest.raises(services.NotNow):
        services.retry(deployment, by=user, now=meanwhile)


def test_a_retry_leaves_the_shortage_of_gpus_in_place(deployment, user, now):
    put(deployment, S.PENDING, pending_reason=SHORTAGE)
    fail_replica(deployment, now)
    services.retry(deployment, by=user, now=now + timedelta(seconds=0.5))
    assert deployment.pending_reason == SHORTAGE


@pytest.mark.parametrize("why", ["the pause is over", "an earlier try", "another configuration", "replaced"])
def test_a_failure_that_is_over_needs_no_retry(deployment, patch, user, now, later, why):
    fail_replica(deployment, now - timedelta(seconds=1) if why == "the pause is over" else now)
    if why == "an earlier try":
        Deployment.objects.update(tried_since=now + timedelta(seconds=1))
    elif why == "another configuration":
        patch(REVISION, at=now)
    elif why == "replaced":
        fail_replica(deployment, now, state=ReplicaState.ENGINE_INITIALIZING, released_at=None)
    with pytest.raises(services.NotNow, match="no start waits after a failure"):
        services.retry(deployment, by=user, now=now + timedelta(seconds=0.5))


@pytest.mark.parametrize("status", list(S))
def test_only_what_has_ended_or_failed_can_be_redeployed(deployment, patch, user, later, status):
    patch({"autoscaling": {"min_replicas": 2, "max_replicas": 4}})
    put(deployment, status, ready_at=deployment.created_at, desired_replicas=3, asleep_since=deployment.created_at)
    if status in (S.TERMINATED, S.FAILED):
        services.redeploy(deployment, by=user, now=later)
        assert (deployment.status, deployment.version, deployment.desired_replicas) == (S.PENDING, 3, 2)
        assert (deployment.tried_since, deployment.pending_since, deployment.work.next_due_at) == (later, later, later)
        cleared = ("terminate_requested_at", "terminated_at", "failed_at", "cause", "asleep_since", "ready_at")
        assert [getattr(deployment, name) for name in cleared] == [None] * len(cleared)
        assert events(deployment)[-1].kind == "redeployed"
    else:
        with pytest.raises(services.NotNow, match="terminating" if status is S.TERMINATING else status.value):
            services.redeploy(deployment, by=user, now=later)
        assert now_of(deployment).version == 2


def test_what_is_redeployed_has_a_route_again(deployment, user, later, store):
    services.terminate(deployment, by=user, now=later)
    assert store.hget(contract.ROUTES, str(deployment.pk)) is None
    put(deployment, S.TERMINATED)
    services.redeploy(deployment, by=user, now=later)
    assert contract.RouteRecord.from_json(store.hget(contract.ROUTES, str(deployment.pk))).state == "open"


def test_redeploying_for_an_older_version_is_refused(deployment, user, later):
    services.terminate(deployment, by=user, now=later)
    put(deployment, S.TERMINATED)
    with pytest.raises(services.VersionConflict):
        services.redeploy(deployment, expected_version=1, by=user, now=later)
    assert deployment.version == 2


def together(*acts):
    """What each of them came to, done at the same time on connections of their own."""
    barrier, results = threading.Barrier(len(acts)), [None] * len(acts)

    def run(index, act):
        barrier.wait()
        try:
            results[index] = act()
        except (services.VersionConflict, services.NotNow) as error:
            results[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def test_of_edits_for_the_same_version_exactly_one_wins(deployment, patch):
    results = together(*(lambda n=n: patch({"engine": {"max_concurrency": n}}, version=1) for n in range(2, 8)))
    winners = [result for result in results if isinstance(result, services.Edited)]
    losers = [result for result in results if isinstance(result, services.VersionConflict)]
    assert (len(winners), len(losers)) == (1, 5)
    row = now_of(deployment)
    assert (row.version, row.revision_id) == (2, winners[0].revision.pk)
    assert {conflict.current for conflict in losers} == {2}


def test_edits_at_once_without_a_version_are_done_one_after_another(deployment, patch):
    together(*(lambda n=n: patch({"engine": {"max_concurrency": n}}) for n in range(2, 8)))
    row = now_of(deployment)
    assert row.version == 7
    assert sorted(queries.revisions(row).values_list("number", flat=True)) == [1, 2, 3, 4, 5, 6, 7]
    assert row.revision.number == 7


def test_an_edit_and_a_termination_at_once_end_in_the_termination(deployment, patch, user, later):
    def terminate():
        services.terminate(Deployment.objects.get(pk=deployment.pk), by=user, now=later)

    edited, _ = together(lambda: patch(REVISION), terminate)
    row = now_of(deployment)
    assert (row.status, row.terminate_requested_at) == (S.TERMINATING, later)
    assert row.version == (3 if isinstance(edited, services.Edited) else 2)
