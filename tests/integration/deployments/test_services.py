"""What a button press writes."""

from datetime import timedelta

import pytest

from deployments import queries, services
from deployments.config.build_spec import parse
from deployments.config.deployment_spec import RevisionSpec
from deployments.models import Deployment, DeploymentEvent
from deployments.reconciler import gpu_allocation
from deployments.states import DeploymentStatus
from gateway import contract

pytestmark = pytest.mark.django_db(transaction=True)
BODY = {"name": "chat", "model": {"source": "catalog", "id": "small"}, "gpu": {"type": "l40s-48gb", "count": 2}}


@pytest.fixture
def create(options, organization, user, now):
    def create(body=BODY, at=now, organization=organization):
        spec = parse(body, options)
        return services.create_deployment(organization=organization, spec=spec, body=body, by=user, now=at)

    return create


def kinds(deployment):
    return list(DeploymentEvent.objects.filter(deployment=deployment).order_by("id").values_list("kind", flat=True))


def test_a_new_deployment_waits_in_the_queue_with_its_first_revision(create, now):
    deployment, is_new = create()
    deployment.refresh_from_db()
    assert is_new
    assert (deployment.status, deployment.pending_since, deployment.work.next_due_at) == ("PENDING", now, now)
    assert deployment.revision.number == 1
    assert RevisionSpec.from_json(deployment.revision.spec).gpu_count == 2
    assert kinds(deployment) == ["created"]


def test_the_same_body_again_gives_the_same_deployment(create):
    first, _ = create()
    second, is_new = create({**BODY})
    assert (second.pk, is_new) == (first.pk, False)
    assert Deployment.objects.count() == 1


def test_the_same_name_with_another_body_is_taken(create):
    create()
    with pytest.raises(services.NameTaken) as caught:
        create(BODY | {"description": "other"})
    assert (caught.value.error.field, caught.value.error.code) == ("name", "name_taken")


def test_another_organization_may_use_the_name(create, cluster):
    from accounts.services import create_organization

    create()
    _, is_new = create(organization=create_organization(slug="other", name="Other"))
    assert is_new


def test_a_new_deployment_has_a_route(create, store):
    deployment, _ = create()
    route = contract.RouteRecord.from_json(store.hget(contract.ROUTES, str(deployment.pk)))
    assert (route.name, route.state, route.context_length, route.simulated) == ("chat", "open", 8192, True)


def test_terminating_twice_asks_once_and_takes_the_route_away(create, user, now, store):
    deployment, _ = create()
    later = now + timedelta(seconds=5)
    services.terminate(deployment, by=user, now=later)
    services.terminate(deployment, by=user, now=later + timedelta(seconds=5))
    assert (deployment.status, deployment.terminate_requested_at) == (DeploymentStatus.TERMINATING, later)
    assert kinds(deployment) == ["created", "terminate_requested"]
    assert store.hget(contract.ROUTES, str(deployment.pk)) is None


def test_only_what_has_ended_can_be_deleted(create, user, now):
    deployment, _ = create()
    with pytest.raises(services.NotEnded, match="PENDING"):
        services.delete(deployment, by=user, now=now)
    Deployment.objects.update(status=DeploymentStatus.TERMINATED)
    services.delete(deployment, by=user, now=now)
    deployment.refresh_from_db()
    assert deployment.deleted_at == now


def test_a_deleted_name_is_free_again(create, user, now):
    deployment, _ = create()
    Deployment.objects.update(status=DeploymentStatus.FAILED)
    services.delete(deployment, by=user, now=now)
    again, is_new = create()
    assert is_new
    assert again.pk != deployment.pk


def test_the_place_in_the_queue_follows_the_time_of_asking(create, now):
    first, _ = create()
    second, _ = create(BODY | {"name": "second"}, now + timedelta(seconds=1))
    assert [queries.queue_position(deployment) for deployment in (first, second)] == [1, 2]


def test_of_two_that_asked_at_the_same_time_one_is_ahead_of_the_other(create):
    earlier, later = sorted((create()[0], create(BODY | {"name": "second"})[0]), key=lambda deployment: deployment.pk)
    assert earlier.pending_since == later.pending_since
    pools = gpu_allocation.read_pools([earlier, later])
    assert [pools[deployment.pk].ahead for deployment in (earlier, later)] == [0, 1]
    assert [queries.queue_position(deployment) for deployment in (earlier, later)] == [1, 2]


@pytest.mark.parametrize("column", ["pending_since", "failed_at", "terminate_requested_at", "deleted_at"])
def test_who_does_not_wait_has_no_place_in_the_queue(create, now, column):
    deployment, _ = create()
    Deployment.objects.update(**{column: None if column == "pending_since" else now})
    deployment.refresh_from_db()
    assert queries.queue_position(deployment) is None


def test_capacity_lists_every_gpu_type_of_the_cluster(create, cluster):
    create()
    assert [(row.gpu_type.pk, row.total, row.used, row.free) for row in queries.capacity(cluster)] == [
        ("l40s-48gb", 8, 0, 8),
        ("h100-sxm-80gb", 2, 0, 2),
    ]


def test_every_status_is_counted(create):
    create()
    counts = queries.status_counts(Deployment.objects.all())
    assert counts["PENDING"] == 1
    assert set(counts) == set(DeploymentStatus)
