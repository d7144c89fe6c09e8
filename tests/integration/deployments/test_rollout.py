"""A rolling edit on real PostgreSQL and Redis: new ready before old drains, and what happens when that cannot be."""

import pytest

from deployments.models import Revision
from deployments.services import rollback
from deployments.states import DeploymentStatus, ReplicaState
from tests.integration.deployments.readings import a_gateway_is_alive, kinds, states, status

pytestmark = pytest.mark.django_db(transaction=True)
R, S = ReplicaState, DeploymentStatus
LONGER = {"engine": {"context_length": 2048}}


def by_revision(deployment, *of):
    """The states of live replicas, by revision number."""
    rows = deployment.replicas.exclude(state__in=[R.STOPPED, R.FAILED]).order_by("created_at", "id")
    found = [(row.revision.number, row.state) for row in rows.select_related("revision")]
    return [state for number, state in found if number in of] if of else found


def roll(console, ticks=12):
    """Every replica that starts is ready at once."""
    for _ in range(ticks):
        console.tick(2)
        console.cluster.reach(R.READY, *(name for name, seen in console.cluster.replicas.items() if not seen.exited))


def test_the_new_revision_settles_before_the_old_one_drains(console, store):
    a_gateway_is_alive(store)
    deployment = console.create(replicas=1)
    console.run(deployment)
    console.edit(deployment, **LONGER)
    console.tick()
    assert status(deployment) == S.ROLLING
    assert by_revision(deployment) == [(1, R.READY), (2, R.REQUESTING_GPU)]
    console.cluster.reach(R.READY)
    console.tick(1)
    assert by_revision(deployment) == [(1, R.READY), (2, R.READY)]
    console.tick(4)
    assert by_revision(deployment) == [(1, R.DRAINING), (2, R.READY)]
    console.tick(1, times=2)
    assert by_revision(deployment) == [(2, R.READY)]
    assert status(deployment) == S.RUNNING
    assert [kind for kind in kinds(deployment) if kind.startswith("roll")] == ["rollout_started", "rollout_done"]


def test_several_replicas_roll_one_after_another_and_never_fewer_serve(console, store):
    a_gateway_is_alive(store)
    deployment = console.create(replicas=3)
    console.run_all(deployment)
    console.edit(deployment, **LONGER)
    for _ in range(40):
        console.tick(1)
        console.cluster.reach(R.READY, *(name for name, seen in console.cluster.replicas.items() if not seen.exited))
        live = by_revision(deployment)
        assert sum(state == R.READY for _, state in live) >= 3
        assert sum(state in (R.READY, R.REQUESTING_GPU) for _, state in live) <= 4
    assert by_revision(deployment) == [(2, R.READY)] * 3
    assert status(deployment) == S.RUNNING


def test_without_a_free_gpu_the_old_replica_makes_place(console, store):
    a_gateway_is_alive(store)
    deployment = console.create(gpu="h100-sxm-80gb", count=2)
    console.run(deployment)
    console.edit(deployment, **LONGER)
    console.tick()
    assert by_revision(deployment) == [(1, R.DRAINING)]
    roll(console)
    assert by_revision(deployment) == [(2, R.READY)]
    assert status(deployment) == S.RUNNING


def test_an_update_that_would_hand_its_gpu_to_another_is_held_and_says_why(console, store):
    a_gateway_is_alive(store)
    deployment = console.create(gpu="h100-sxm-80gb", count=2)
    console.run(deployment)
    console.create("waits", gpu="h100-sxm-80gb", count=1)
    console.tick()
    console.edit(deployment, **LONGER)
    console.tick(1, times=3)
    assert by_revision(deployment) == [(1, R.READY)]
    deployment.refresh_from_db()
    facts = {"gpu": "H100 SXM", "gpu_count": 2, "ahead": 1}
    assert deployment.rollout_hold == {"code": "update_behind_others", "facts": facts}
    assert kinds(deployment).count("rollout_held") == 1


def test_two_edits_in_a_row_converge_on_the_last(console, store):
    a_gateway_is_alive(store)
    deployment = console.create(replicas=2)
    console.run_all(deployment)
    console.edit(deployment, **LONGER)
    console.tick()
    console.edit(deployment, engine={"context_length": 4096})
    roll(console, 20)
    assert by_revision(deployment) == [(3, R.READY)] * 2
    assert status(deployment) == S.RUNNING


def test_editing_back_restarts_nothing_that_still_runs_so(console, store):
    a_gateway_is_alive(store)
    deployment = console.create(replicas=1)
    first = console.run(deployment)
    console.edit(deployment, **LONGER)
    console.tick()
    console.edit(deployment, engine={"context_length": 8192})
    roll(console, 4)
    assert [str(row.pk) for row in deployment.replicas.filter(state=R.READY)] == [str(first.pk)]
    assert status(deployment) == S.RUNNING


def fail_new(console, deployment):
    """Every replica of another revision than the first dies at once."""
    first = set(deployment.revisions.get(number=1).replicas.values_list("name", flat=True))
    for name, seen in list(console.cluster.replicas.items()):
        if name not in first and not seen.exited:
            console.cluster.exit(name, 1)


def test_a_revision_that_cannot_start_is_rolled_back_and_says_why(console, store):
    a_gateway_is_alive(store)
    deployment = console.create(replicas=1)
    first = console.run(deployment)
    console.edit(deployment, **LONGER)
    for _ in range(10):
        console.tick(6)
        fail_new(console, deployment)
    assert status(deployment) == S.RUNNING
    assert (deployment.revision.number, deployment.revision.restores) == (3, 1)
    assert Revision.objects.get(deployment=deployment, number=2).cause["code"] == "engine_exited"
    assert [row.pk for row in deployment.replicas.filter(state=R.READY)] == [first.pk]
    assert kinds(deployment).count("rolled_back_by_itself") == 1
    assert (kinds(deployment).count("rollout_started"), kinds(deployment).count("rollout_done")) == (1, 0)
    assert deployment.failed_at is None


def test_a_revision_that_crashes_as_soon_as_it_is_ready_is_rolled_back_while_the_old_one_serves(console, store):
    a_gateway_is_alive(store)
    deployment = console.create(replicas=1)
    first = console.run(deployment)
    console.edit(deployment, **LONGER)
    for _ in range(5):
        console.tick(6)
        console.cluster.reach(R.READY, *console.cluster.running())
        console.tick(1)
        fail_new(console, deployment)
    console.tick(1)
    assert Revision.objects.get(deployment=deployment, number=2).ready_at is not None
    assert (deployment.refresh_from_db(), deployment.revision.restores) == (None, 1)
    assert [row.pk for row in deployment.replicas.filter(state=R.READY)] == [first.pk]
    assert (status(deployment), deployment.failed_at) == (S.RUNNING, None)


def test_what_ran_before_and_fails_long_after_a_rollback_is_not_rolled_back_further(console, store):
    a_gateway_is_alive(store)
    deployment = console.create(replicas=1)
    console.run(deployment)
    console.edit(deployment, **LONGER)
    roll(console)
    rollback(deployment, number=1, by=None, now=console.now)
    roll(console)
    assert [row.number for row in Revision.objects.exclude(ready_at=None).order_by("number")] == [1, 2, 3]
    for _ in range(8):
        for name in console.cluster.running():
            console.cluster.exit(name, 1)
        console.tick(6)
    assert (status(deployment), deployment.revision.number) == (S.FAILED, 3)


def test_an_edit_taken_back_before_anything_ended_is_known_to_run(console, store):
    a_gateway_is_alive(store)
    deployment = console.create(replicas=1)
    console.run(deployment)
    console.edit(deployment, **LONGER)
    console.tick()
    console.edit(deployment, engine={"context_length": 8192})
    console.tick(1, times=2)
    assert [row.number for row in Revision.objects.exclude(ready_at=None).order_by("number")] == [1, 3]


def test_a_first_revision_that_cannot_start_fails_the_deployment(console):
    deployment = console.create(replicas=1)
    for _ in range(8):
        console.tick(6)
        for name in console.cluster.running():
            console.cluster.exit(name, 1)
    assert status(deployment) == S.FAILED
    assert states(deployment) == [R.FAILED] * 3


def test_a_replica_that_dies_during_the_update_is_replaced_by_a_new_one(console, store):
    a_gateway_is_alive(store)
    deployment = console.create(replicas=2)
    console.run_all(deployment)
    console.edit(deployment, **LONGER)
    console.tick()
    console.cluster.exit(console.cluster.running()[0], -9)
    roll(console, 20)
    assert by_revision(deployment) == [(2, R.READY)] * 2


def test_without_a_number_a_rollback_passes_over_what_failed(console, store):
    a_gateway_is_alive(store)
    deployment = console.create(replicas=1)
    console.run(deployment)
    console.edit(deployment, engine={"context_length": 4096})
    roll(console)
    console.edit(deployment, **LONGER)
    Revision.objects.filter(deployment=deployment, number=3).update(
        cause={"code": "engine_exited", "facts": {"exit_code": 1}, "evidence": ""}
    )
    console.edit(deployment, engine={"context_length": 8192})
    assert rollback(deployment, number=None, by=None, now=console.now).revision.restores == 2
