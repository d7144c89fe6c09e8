import re
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.html import escape

from accounts.models import Organization
from accounts.roles import Role
from deployments.messages import describe_reason
from deployments.models import Deployment
from deployments.states import DeploymentStatus, ReplicaState
from tests.integration.console import deployment_rows as rows
from tests.integration.console.markup import squeeze

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> Organization:
    return rows.organization()


@pytest.fixture
def now() -> datetime:
    return timezone.now()


def signed_in(organization: Organization | None = None, role: Role = Role.ADMIN, **fields: object) -> Client:
    client = Client()
    client.force_login(rows.person(f"{role}@example.com", organization, role, **fields), backend=BACKEND)
    return client


POSTED = ("terminate", "delete", "retry", "redeploy", "revisions/1/rollback")
BACKEND = "django.contrib.auth.backends.ModelBackend"


def page(client: Client, deployment: Deployment, below: str = "") -> str:
    answer = client.get(f"/deployments/{deployment.pk}/{below}")
    assert answer.status_code == 200
    text = squeeze(answer)
    assert text.count("<h1") == 1
    assert "style=" not in text
    return text


@pytest.mark.parametrize("status", DeploymentStatus)
def test_the_page_shows_its_status_in_words_and_the_name_once_as_heading(owner, now, status):
    text = page(signed_in(owner), rows.in_status(owner, status, now))
    assert f'data-status="{status}"' in text
    assert f"<h1>in-{status.lower()}</h1>" in text


def test_a_message_waits_for_the_page_that_shows_it(owner, now):
    client, deployment = signed_in(owner), rows.in_status(owner, DeploymentStatus.FAILED, now)
    client.post(f"/deployments/{deployment.pk}/retry/")
    assert client.head(f"/deployments/{deployment.pk}/").status_code == 200
    message = f"Retrying {deployment.name}."
    assert message in page(client, deployment)
    assert message not in page(client, deployment)


def test_a_start_shows_its_phases_its_true_progress_and_that_nothing_is_known_to_compare(owner, now):
    text = page(signed_in(owner), rows.in_status(owner, DeploymentStatus.DEPLOYING, now))
    for title in ("Requesting GPU", "Downloading model", "Engine initializing"):
        assert title in text
    assert "5.4 of 16.1 GB" in text
    assert "no earlier starts of" in text
    assert "0 of 1 wanted" in text.replace("<small>", "")


def test_a_start_is_compared_with_earlier_starts_measured_here(owner, now):
    earlier = rows.deployment(owner, now)
    rows.replica(earlier, ReplicaState.READY, now, seconds=60, ready_at=now)
    text = page(signed_in(owner), rows.in_status(owner, DeploymentStatus.DEPLOYING, now))
    assert "p50 and longest, based on 1 earlier start of" in text
    assert "ready about" in text


def test_a_start_that_is_over_is_not_compared_with_itself(owner, now):
    running = rows.deployment(owner, now, status=DeploymentStatus.RUNNING)
    rows.replica(running, ReplicaState.READY, now, seconds=60, ready_at=now)
    text = page(signed_in(owner), running)
    assert "no earlier starts of" in text
    assert "earlier start of" not in text


def test_what_has_not_begun_has_its_place_so_that_nothing_moves_when_it_does(owner, now):
    text = page(signed_in(owner), rows.deployment(owner, now, status=DeploymentStatus.PENDING, replicas=2))
    assert re.search("Replica 1 of 2 waits for its GPUs.*Replica 2 of 2 waits for its GPUs", text)
    assert text.count('<ol class="waterfall">') == 2
    assert text.count("not placed yet") == 2


def test_a_failure_is_shown_with_cause_evidence_and_action_and_nothing_of_it_is_markup(owner, now):
    text = page(signed_in(owner), rows.in_status(owner, DeploymentStatus.FAILED, now))
    said = describe_reason(rows.CAUSE)
    assert 'data-code="engine_exited"' in text
    assert escape(said.sentence) in text
    assert "Traceback &lt;b&gt;" in text
    assert escape(said.action) in text


def test_what_waits_says_its_place_and_why(owner, now):
    rows.in_status(owner, DeploymentStatus.PENDING, now, "first")
    text = page(signed_in(owner), rows.in_status(owner, DeploymentStatus.PENDING, now.replace(year=2030), "second"))
    assert 'data-code="gpu_queue"' in text
    assert escape(describe_reason(rows.SHORTAGE, {"position": 2}).sentence) in text


def test_what_was_just_created_is_not_shown_as_waiting_long(owner, now):
    fresh = rows.deployment(owner, now, status=DeploymentStatus.PENDING, status_since=now)
    visitor = signed_in(owner)
    assert "banner waiting" not in page(visitor, fresh)
    old = rows.deployment(owner, now, "old", status=DeploymentStatus.PENDING, status_since=now - timedelta(minutes=1))
    assert "banner waiting" in page(visitor, old)


def test_the_quick_start_calls_this_deployment_at_its_endpoint(owner, now):
    text = page(signed_in(owner), rows.in_status(owner, DeploymentStatus.RUNNING, now))
    assert text.count("http://127.0.0.1:8001/v1") >= 4
    assert '"model": "in-running"' in text


def test_the_quick_start_says_how_to_get_and_set_a_key(owner, now):
    text = page(signed_in(owner), rows.in_status(owner, DeploymentStatus.RUNNING, now))
    assert 'href="/settings/api-keys/#new"' in text
    assert "export MC_API_KEY=mc_…" in text


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (DeploymentStatus.FAILED, "it failed, and requests get the status 503"),
        (DeploymentStatus.TERMINATING, "it is terminating, and requests get the status 404"),
        (DeploymentStatus.TERMINATED, "it is terminated, and requests get the status 404"),
    ],
)
def test_what_cannot_be_called_has_a_reason_instead_of_a_quick_start(owner, now, status, words):
    text = page(signed_in(owner), rows.in_status(owner, status, now))
    assert words in text
    assert "snippet-curl" not in text


def test_a_viewer_is_told_who_may_call(owner, now):
    text = page(signed_in(owner, Role.VIEWER), rows.in_status(owner, DeploymentStatus.RUNNING, now))
    assert "Your role cannot call deployments." in text
    assert "snippet-curl" not in text


def test_a_simulated_cluster_says_so(owner, now):
    assert ">simulated<" in page(signed_in(owner), rows.in_status(owner, DeploymentStatus.RUNNING, now))


@pytest.mark.parametrize("below", ["", "events/", "settings/", "terminate/", "delete/", "playground/", "logs/"])
def test_another_organizations_deployment_does_not_exist(owner, now, below):
    deployment = rows.in_status(owner, DeploymentStatus.RUNNING, now)
    client = signed_in(rows.organization("brightline"))
    assert client.get(f"/deployments/{deployment.pk}/{below}").status_code == 404
    assert client.post(f"/deployments/{deployment.pk}/{below}").status_code in (404, 405)


def test_an_operator_sees_every_organizations_deployment(owner, now):
    deployment = rows.in_status(owner, DeploymentStatus.RUNNING, now)
    assert "Northwind" in page(signed_in(is_operator=True), deployment)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER])
def test_who_may_not_deploy_sees_no_action_and_is_refused_when_posting(owner, now, role):
    client, deployment = signed_in(owner, role), rows.in_status(owner, DeploymentStatus.RUNNING, now)
    for below in ("", "events/", "settings/"):
        text = page(client, deployment, below)
        assert not [verb for verb in POSTED if f"/{verb}/" in text]
    for verb in POSTED:
        assert client.post(f"/deployments/{deployment.pk}/{verb}/").status_code == 403
    deployment.refresh_from_db()
    assert deployment.terminate_requested_at is None


def test_a_viewer_has_no_playground_and_a_member_has(owner, now):
    deployment = rows.in_status(owner, DeploymentStatus.RUNNING, now)
    assert "data-playground" not in page(signed_in(owner, Role.VIEWER), deployment)
    assert "data-playground" in page(signed_in(owner, Role.MEMBER), deployment)


def test_terminate_asks_first_and_a_post_asks_for_the_end(owner, now):
    client, deployment = signed_in(owner), rows.in_status(owner, DeploymentStatus.RUNNING, now)
    assert "1 replica stops, 1 GPU is released." in page(client, deployment, "terminate/")
    assert client.post(f"/deployments/{deployment.pk}/terminate/").status_code == 302
    deployment.refresh_from_db()
    assert deployment.status == DeploymentStatus.TERMINATING
    assert "open-terminate" not in page(client, deployment)


def test_only_what_has_ended_can_be_deleted(owner, now):
    client = signed_in(owner)
    running = rows.in_status(owner, DeploymentStatus.RUNNING, now)
    answer = client.post(f"/deployments/{running.pk}/delete/", follow=True)
    assert "Terminate it" in squeeze(answer)
    running.refresh_from_db()
    assert running.deleted_at is None


def test_what_has_failed_is_terminated_before_it_is_deleted_while_its_replicas_stop(owner, now):
    client, failed = signed_in(owner), rows.in_status(owner, DeploymentStatus.FAILED, now)
    rows.replica(failed, ReplicaState.STOPPING, now)
    text = page(client, failed)
    assert ("open-delete" in text, "open-terminate" in text) == (False, True)
    assert "not all of its replicas have stopped" in squeeze(
        client.get(f"/deployments/{failed.pk}/delete/", follow=True)
    )
    client.post(f"/deployments/{failed.pk}/terminate/")
    failed.refresh_from_db()
    assert failed.terminate_requested_at is not None


def test_what_has_ended_is_deleted_and_gone(owner, now):
    client, ended = signed_in(owner), rows.in_status(owner, DeploymentStatus.TERMINATED, now)
    assert "cannot be undone" in page(client, ended, "delete/")
    assert client.post(f"/deployments/{ended.pk}/delete/").status_code == 302
    assert client.get(f"/deployments/{ended.pk}/").status_code == 404


def test_a_post_without_token_is_refused(owner, now):
    deployment = rows.in_status(owner, DeploymentStatus.RUNNING, now)
    client = Client(enforce_csrf_checks=True)
    client.force_login(rows.person("admin@example.com", owner), backend=BACKEND)
    assert client.post(f"/deployments/{deployment.pk}/terminate/").status_code == 403


def test_an_anonymous_visitor_is_sent_to_sign_in(owner, now):
    deployment = rows.in_status(owner, DeploymentStatus.RUNNING, now)
    assert Client().get(f"/deployments/{deployment.pk}/").status_code == 302


def test_an_ended_replicas_log_is_its_stored_end_as_text(owner, now):
    deployment = rows.in_status(owner, DeploymentStatus.FAILED, now)
    text = page(signed_in(owner), deployment, f"logs/?replica={deployment.replicas.get().pk}")
    assert "<span>one</span>" in text
    assert "<span>two &lt;script&gt;</span>" in text
    assert "data-log-stream" not in text


def test_a_replica_of_another_deployment_has_no_log_here(owner, now):
    one, other = (rows.in_status(owner, DeploymentStatus.FAILED, now, name) for name in ("one", "other"))
    client = signed_in(owner)
    assert client.get(f"/deployments/{one.pk}/logs/?replica={other.replicas.get().pk}").status_code == 404
    assert client.get(f"/deployments/{one.pk}/logs/{other.replicas.get().pk}/stream/").status_code == 404


def test_times_in_attributes_are_utc(owner):
    deployment = rows.in_status(owner, DeploymentStatus.RUNNING, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert 'datetime="2026-01-02T03:04:05+00:00"' in page(signed_in(owner), deployment)
