"""A replica without a record, as people see it: announced everywhere, and an operator's button to declare it gone."""

from datetime import UTC, datetime

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Organization
from accounts.roles import Role
from deployments.codes import Notice
from deployments.events import short
from deployments.messages import describe_notice
from deployments.models import Deployment, Replica, WorkItem
from deployments.states import DeploymentStatus, ReplicaState
from tests.integration.console import deployment_rows as rows
from tests.integration.console.markup import squeeze

pytestmark = pytest.mark.django_db
BACKEND = "django.contrib.auth.backends.ModelBackend"
SEEN_LAST = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def owner() -> Organization:
    return rows.organization()


@pytest.fixture
def replica(owner: Organization) -> Replica:
    deployment = rows.in_status(owner, DeploymentStatus.SCALING, timezone.now())
    return rows.replica(deployment, ReplicaState.UNKNOWN, timezone.now(), serving=False, state_since=SEEN_LAST)


def signed_in(owner: Organization, **fields: object) -> Client:
    client = Client()
    client.force_login(rows.person("ada@example.com", owner, Role.OWNER, **fields), backend=BACKEND)
    return client


def address(replica: Replica, below: str = "") -> str:
    return f"/deployments/{replica.deployment_id}/{below}"


def declare(replica: Replica) -> str:
    return address(replica, f"replicas/{replica.pk}/declare-gone/")


def test_the_page_and_the_list_say_that_it_is_unknown(owner: Organization, replica: Replica) -> None:
    client = signed_in(owner)
    page = squeeze(client.get(address(replica)))
    assert describe_notice(Notice.UNKNOWN_REPLICA, names=short(replica)).sentence in page
    assert "Unknown</span>" in page
    listed = squeeze(client.get("/deployments/"))
    assert "1 with unknown replicas" in listed
    assert "1 replica unknown: an operator must look" in listed


def test_a_deployment_whose_only_replica_is_unknown_does_not_claim_to_wait_for_gpus(owner: Organization) -> None:
    now = timezone.now()
    deployment = rows.deployment(owner, now, status=DeploymentStatus.SCALING)
    rows.replica(deployment, ReplicaState.UNKNOWN, now, serving=False)
    page = squeeze(signed_in(owner).get(f"/deployments/{deployment.pk}/"))
    assert f"{describe_notice(Notice.UNKNOWN_REPLICA, names='').title}</p>" in page
    assert "Waits for GPUs" not in page


def test_a_deployment_that_needs_attention_for_two_reasons_is_one(owner: Organization, replica: Replica) -> None:
    WorkItem.objects.create(deployment=replica.deployment, failures=3)
    rows.in_status(owner, DeploymentStatus.FAILED, timezone.now())
    listed = squeeze(signed_in(owner).get("/deployments/"))
    assert "<dd>1 failed, 1 with internal errors, 1 with unknown replicas</dd>" in listed
    assert 'Needs attention</dt><dd class="tone-bad">2</dd>' in listed


def test_only_an_operator_has_the_button(owner: Organization, replica: Replica) -> None:
    client = signed_in(owner)
    assert declare(replica) not in client.get(address(replica)).content.decode()
    assert [client.get(declare(replica)).status_code, client.post(declare(replica)).status_code] == [403, 403]
    replica.refresh_from_db()
    assert replica.gone_declared_at is None


def test_an_operator_is_asked_and_declares_it_gone(owner: Organization, replica: Replica) -> None:
    client = signed_in(owner, is_operator=True)
    assert declare(replica) in client.get(address(replica)).content.decode()
    question = squeeze(client.get(declare(replica)))
    assert "no record of it since" in question
    assert "2026-11-21 12:00:00 UTC</time>" in question
    assert str(replica.pk) in question
    answer = client.post(declare(replica), follow=True)
    replica.refresh_from_db()
    assert replica.gone_declared_at is not None
    assert "was declared gone" in squeeze(answer)
    assert "declared gone</span>" in squeeze(client.get(address(replica)))
    assert declare(replica) not in client.get(address(replica)).content.decode()


def test_a_replica_that_is_not_unknown_is_not_declared_gone(owner: Organization) -> None:
    deployment: Deployment = rows.in_status(owner, DeploymentStatus.RUNNING, timezone.now())
    ready = deployment.replicas.get()
    client = signed_in(owner, is_operator=True)
    assert "Only a replica that is unknown" in squeeze(client.get(declare(ready)))
    assert "can be declared gone" in squeeze(client.post(declare(ready), follow=True))
    ready.refresh_from_db()
    assert ready.gone_declared_at is None
