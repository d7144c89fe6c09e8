"""The settings of a deployment: change log, revisions, and the way back to one of them."""

import re
from datetime import datetime

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.html import escape

from accounts.models import Organization
from accounts.roles import Role
from console.deployments.timeline import PER_PAGE
from deployments.messages import describe_reason, title_event
from deployments.models import Deployment
from deployments.states import DeploymentStatus as S
from tests.integration.console import deployment_rows as rows
from tests.integration.console.markup import squeeze

pytestmark = pytest.mark.django_db
BACKEND = "django.contrib.auth.backends.ModelBackend"


@pytest.fixture
def owner() -> Organization:
    return rows.organization()


@pytest.fixture
def now() -> datetime:
    return timezone.now()


@pytest.fixture
def deployment(owner: Organization, now: datetime) -> Deployment:
    """Revision 1 ran, 2 could not start, 3 is in force."""
    made = rows.in_status(owner, S.RUNNING, now)
    rows.revision(made, now, max_concurrency=512, cause=rows.CAUSE)
    rows.revision(made, now, max_concurrency=64, ready_at=now)
    return made


def signed_in(owner: Organization, role: Role = Role.ADMIN) -> Client:
    client = Client()
    client.force_login(rows.person(f"{role}@example.com", owner, role), backend=BACKEND)
    return client


def settings(client: Client, deployment: Deployment, query: str = "") -> str:
    answer = client.get(f"/deployments/{deployment.pk}/settings/{query}")
    assert answer.status_code == 200
    text = squeeze(answer)
    assert text.count("<h1") == 1
    assert "style=" not in text
    return re.sub(r"\s+", " ", re.sub(r"<(?!a |h1)[^>]+>", " ", text))


def test_every_revision_says_what_it_changed_and_how_it_went(owner, deployment):
    text = settings(signed_in(owner), deployment)
    assert "Max concurrency 512 requests → 64 requests" in text
    assert "Max concurrency 16 requests → 512 requests" in text
    assert f"Could not start {escape(describe_reason(rows.CAUSE).sentence)}" in text
    assert "Traceback &lt;b&gt;" in text
    assert "Current, first ready" in text


def test_an_actor_has_one_name_on_the_page(owner, deployment, now):
    mara = rows.person("mara@example.com", owner, Role.ADMIN, name="Mara Lindqvist")
    Deployment.objects.update(created_by=mara)
    deployment.revisions.update(created_by=mara)
    client = Client()
    client.force_login(mara, backend=BACKEND)
    text = settings(client, deployment)
    assert text.count("mara@example.com") >= 5
    assert "Mara Lindqvist" not in text


def test_the_change_log_says_who_changed_what_and_that_nothing_restarted(owner, deployment, now):
    model = [{"field": "model.id", "before": "a", "after": "b"}]
    changes = [{"field": "autoscaling.max_replicas", "before": 3, "after": 6}]
    at_once = rows.event(deployment, now, "edited", changes=changes, revision=None)
    revised = rows.event(deployment, now, "edited", changes=model, revision=4)
    rows.event(deployment, now, "replica_ready", replica="r-1234", start_seconds=1)
    text = settings(signed_in(owner), deployment)
    assert f"{title_event('edited', 'console', at_once.facts)} Max replicas 3 → 6" in text
    assert f"{title_event('edited', 'console', revised.facts)} Model a → b" in text
    assert "r-1234" not in text


def test_a_long_change_log_goes_on_on_older_pages(owner, deployment, now):
    for number in range(60):
        rows.event(deployment, now, "retried", number=number)
    client = signed_in(owner)
    text = squeeze(client.get(f"/deployments/{deployment.pk}/settings/"))
    assert text.count('data-kind="retried"') == PER_PAGE
    assert "data-live" in text
    older = re.search(r'id="older" href="[^"?]+(\?[^"]+)"', text)[1]
    text = squeeze(client.get(f"/deployments/{deployment.pk}/settings/{older}"))
    assert text.count('data-kind="retried"') == 60 - PER_PAGE
    assert 'data-live="' not in text


def test_every_value_in_force_is_shown_by_what_a_change_of_it_does(owner, deployment):
    Deployment.objects.filter(pk=deployment.pk).update(
        autoscaling_enabled=True, min_replicas=0, max_replicas=4, scale_down_delay_seconds=600
    )
    text = settings(signed_in(owner), deployment)
    assert "Max concurrency 64 requests" in text
    assert "Replicas 0 to 4 replicas Scale-down delay 600 s Sleep after 600 s without a request" in text
    assert "Fixed at creation: clone the deployment to change these Name in-running" in text


def test_a_fixed_number_says_that_autoscaling_is_off(owner, deployment):
    assert "Replicas 1, fixed: autoscaling is off" in settings(signed_in(owner), deployment)


def test_rolling_back_asks_first_with_the_difference_and_then_makes_a_new_revision(owner, deployment):
    client = signed_in(owner)
    address = f"/deployments/{deployment.pk}/revisions/1/rollback/"
    assert address in settings(client, deployment)
    asked = squeeze(client.get(address))
    assert re.search(r"Max concurrency.*<del>64 requests</del>.*<ins>16 requests</ins>", asked)
    version = re.search(r'name="version" value="(\d+)"', asked)[1]
    answer = client.post(address, {"version": version}, follow=True)
    deployment.refresh_from_db()
    assert (deployment.revision.number, deployment.revision.restores) == (4, 1)
    assert "Rolled back: revision 4 has the configuration of revision 1." in squeeze(answer)


def test_a_rollback_of_what_somebody_changed_meanwhile_is_refused_and_says_who(owner, deployment):
    client = signed_in(owner)
    address = f"/deployments/{deployment.pk}/revisions/1/rollback/"
    Deployment.objects.filter(pk=deployment.pk).update(version=7)
    answer = client.post(address, {"version": "1"}, follow=True)
    deployment.refresh_from_db()
    assert deployment.revision.number == 3
    assert "Nothing was rolled back" in squeeze(answer)
    assert 'name="version" value="7"' in squeeze(answer)


def test_a_revision_that_could_not_start_is_told_again_before_going_back_to_it(owner, deployment):
    text = squeeze(signed_in(owner).get(f"/deployments/{deployment.pk}/revisions/2/rollback/"))
    assert "Revision 2 could not start before" in text


def test_the_configuration_in_force_offers_no_way_back_to_itself(owner, deployment):
    client = signed_in(owner)
    assert f"/deployments/{deployment.pk}/revisions/3/rollback/" not in settings(client, deployment)
    answer = client.post(f"/deployments/{deployment.pk}/revisions/3/rollback/", follow=True)
    assert "already in effect" in squeeze(answer)


def test_a_revision_that_is_not_there_does_not_exist(owner, deployment):
    client = signed_in(owner)
    for number in ("9", "99999999999999999999"):
        assert client.get(f"/deployments/{deployment.pk}/revisions/{number}/rollback/").status_code == 404


def test_a_viewer_reads_the_settings_and_rolls_nothing_back(owner, deployment):
    client = signed_in(owner, Role.VIEWER)
    assert "/rollback/" not in settings(client, deployment)
    assert client.get(f"/deployments/{deployment.pk}/revisions/1/rollback/").status_code == 403
