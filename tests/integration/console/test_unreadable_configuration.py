"""A deployment whose configuration this release cannot read: its pages say so and show the rest, it can be terminated,
and it hides nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Organization
from accounts.roles import Role
from deployments.codes import Notice
from deployments.models import Deployment, Replica, WorkItem
from deployments.states import DeploymentStatus, ReplicaState
from tests.integration.console import deployment_rows as rows
from tests.integration.console.markup import squeeze

pytestmark = pytest.mark.django_db
BACKEND = "django.contrib.auth.backends.ModelBackend"
STATUSES = (DeploymentStatus.RUNNING, DeploymentStatus.DEPLOYING, DeploymentStatus.ROLLING, DeploymentStatus.SLEEPING)


@pytest.fixture
def owner() -> Organization:
    return rows.organization()


@pytest.fixture
def client(owner: Organization) -> Client:
    client = Client()
    client.force_login(rows.person("ada@example.com", owner, Role.ADMIN), backend=BACKEND)
    return client


def spoil(deployment: Deployment, spec: dict[str, Any]) -> None:
    deployment.revisions.update(spec=spec)
    WorkItem.objects.create(deployment=deployment, failures=3, failing_since=timezone.now(), error="KeyError")


def of_a_later_release(deployment: Deployment) -> dict[str, Any]:
    assert deployment.revision
    spec: dict[str, Any] = deployment.revision.spec
    return {**spec, "schema_version": 99, "engine": {**spec["engine"], "name": "later"}}


def below(deployment: Deployment, page: str = "") -> str:
    return f"/deployments/{deployment.pk}/{page}"


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("is_empty", [True, False], ids=["empty", "of a later release"])
def test_every_page_shows_what_is_known(owner: Organization, client: Client, status: Any, is_empty: bool) -> None:
    deployment = rows.in_status(owner, status, timezone.now())
    spoil(deployment, {} if is_empty else of_a_later_release(deployment))
    for page in ("", "events/", "logs/", "settings/", "playground/", "terminate/"):
        answer = client.get(below(deployment, page), follow=True)
        assert answer.status_code == 200, page
        assert "Configuration cannot be read" in squeeze(answer), page
    page = squeeze(client.get(below(deployment)))
    assert "no earlier starts of Configuration" not in page
    assert ("no replica is ready" in page) is (status not in (DeploymentStatus.RUNNING, DeploymentStatus.ROLLING))
    assert f'data-code="{Notice.BROKEN}"' in page
    assert "Cannot be read by this release" in squeeze(client.get(below(deployment, "settings/")))
    assert deployment.name in squeeze(client.get("/deployments/"))


@pytest.mark.parametrize("page", ["edit/", "clone/", "revisions/1/rollback/"])
def test_what_needs_the_configuration_says_so_on_the_page(owner: Organization, client: Client, page: str) -> None:
    deployment = rows.in_status(owner, DeploymentStatus.RUNNING, timezone.now())
    spoil(deployment, {})
    answer = client.get(below(deployment, page), follow=True)
    assert answer.redirect_chain == [(below(deployment), 302)]
    assert "cannot be read by this release of the console. Nothing was changed." in squeeze(answer)


def test_it_can_be_terminated_and_deleted(owner: Organization, client: Client) -> None:
    deployment = rows.in_status(owner, DeploymentStatus.RUNNING, timezone.now())
    spoil(deployment, {})
    client.post(below(deployment, "terminate/"))
    deployment.refresh_from_db()
    assert deployment.terminate_requested_at is not None
    Replica.objects.update(state=ReplicaState.STOPPED)
    Deployment.objects.update(status=DeploymentStatus.TERMINATED)
    assert "was deleted" in squeeze(client.post(below(deployment, "delete/"), follow=True))


def test_others_are_listed_beside_it(owner: Organization, client: Client) -> None:
    now = timezone.now()
    spoil(rows.in_status(owner, DeploymentStatus.DEPLOYING, now, "broken"), {})
    rows.in_status(owner, DeploymentStatus.RUNNING, now, "sound")
    page = squeeze(client.get("/deployments/"))
    assert "configuration cannot be read · Northwind" in page
    assert "sound" in page
