"""Editing and cloning by form: what saving does is said first, and two people who edit lose nothing."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import Any

import pytest
import redis
from django.test import Client
from django.utils import timezone

from accounts.models import Organization
from accounts.roles import Role
from console.deployments.forms import texts_of
from deployments import services
from deployments.config.build_spec import parse
from deployments.config.normalize import merge
from deployments.models import CatalogModel, Deployment, WorkItem
from deployments.queries import spec_of, spec_options
from deployments.reconciler.autoscaler import Memory
from deployments.states import DeploymentStatus, ReplicaState
from gateway import contract
from tests.integration.console import deployment_rows as rows
from tests.integration.console.markup import squeeze

pytestmark = pytest.mark.django_db
BACKEND = "django.contrib.auth.backends.ModelBackend"
RESTARTS = "Restarts replicas, one after another (rolling update to revision 2)"


@pytest.fixture
def now() -> datetime:
    return timezone.now()


@pytest.fixture
def owner(now: datetime) -> Organization:
    rows.endpoint(now)
    CatalogModel.objects.create(
        id="llama-3.1-8b-instruct", title="Llama 3.1 8B Instruct", family="llama", publisher="Meta",
        repository="meta-llama/Llama-3.1-8B-Instruct", parameters=8_030_261_248, weight_bytes=15 * rows.GIB,
        dtype="bfloat16", context_length=131072, architecture={}, license="llama3.1",
        source_url="https://huggingface.co/meta-llama/Llama-3.1-8B-Instruct", sourced_at=date(2026, 1, 1),
    )  # fmt: skip
    return rows.organization()


@pytest.fixture
def chat(owner: Organization, now: datetime) -> Deployment:
    """Running, with a range of 1 to 3."""
    made = rows.deployment(
        owner, now, name="chat", status=DeploymentStatus.RUNNING, autoscaling_enabled=True, min_replicas=1,
        max_replicas=3, scale_down_delay_seconds=300, sleep_after_seconds=None, description="For the help centre",
    )  # fmt: skip
    rows.replica(made, ReplicaState.READY, now)
    return made


def signed_in(organization: Organization, role: Role = Role.ADMIN) -> Client:
    client = Client()
    client.force_login(rows.person(f"{role}@example.com", organization, role), backend=BACKEND)
    return client


def opened(client: Client, deployment: Deployment) -> dict[str, str]:
    """What the browser would send back without a change."""
    text = squeeze(client.get(f"/deployments/{deployment.pk}/edit/"))
    hidden = {name: re.search(f'name="{name}"[^>]* value="([^"]*)"', text)[1] for name in ("version", "base", "seal")}
    return {**texts_of(spec_of(deployment).to_json()), **hidden}


def saved(client: Client, deployment: Deployment, form: dict[str, str]) -> Any:
    return client.post(f"/deployments/{deployment.pk}/edit/", form)


def resent(answer: Any, form: dict[str, str]) -> dict[str, str]:
    """The form of a page that asked first, sent again."""
    text = squeeze(answer)
    hidden = {name: re.search(f'name="{name}"[^>]* value="([^"]*)"', text)[1] for name in ("version", "base", "seal")}
    return {**form, **hidden}


def changed_by(email: str, deployment: Deployment, patch: dict[str, Any]) -> None:
    """Somebody else saves."""
    row = Deployment.objects.get(pk=deployment.pk)
    spec = parse(merge(spec_of(row).to_json(), patch), spec_options(), spec_of(row))
    other = rows.person(email, row.organization)
    services.edit(row, spec=spec, expected_version=None, by=other, now=timezone.now())


def test_name_endpoint_and_gpu_type_are_shown_and_fixed_with_a_clone_as_the_way_out(owner, chat):
    text = squeeze(signed_in(owner).get(f"/deployments/{chat.pk}/edit/"))
    assert not re.search('name="(name|endpoint|gpu)"', text)
    assert f'href="/deployments/{chat.pk}/clone/">Clone with another GPU' in text
    assert "L40S 48 GB" in text


def test_the_preview_says_what_takes_effect_at_once_and_what_restarts(owner, chat):
    client = signed_in(owner)
    form = opened(client, chat) | {"max_replicas": "5", "max_concurrency": "32"}
    text = squeeze(client.post(f"/deployments/{chat.pk}/edit/preview/", form))
    assert text.index("Takes effect immediately") < text.index("Max replicas") < text.index(RESTARTS)
    assert text.index(RESTARTS) < text.index("Max concurrency")
    assert "2 changes, restarts 1 replica" in text
    assert not re.search("csrf|nonce", text)
    assert Deployment.objects.get().version == chat.version


@pytest.mark.parametrize(
    ("idle_minutes", "words"),
    [
        (20, "It falls asleep immediately: it has had no requests for 20 min."),
        (1, "It falls asleep in 3 min if no request arrives."),
    ],
)
def test_saving_min_zero_says_when_it_falls_asleep(owner, chat, now, redis_url, idle_minutes, words):
    client, idle_since = signed_in(owner), now - timedelta(minutes=idle_minutes)
    chat.replicas.update(ready_at=idle_since)
    memory = Memory("e1", idle_since - timedelta(hours=1)).to_json()
    WorkItem.objects.update_or_create(deployment=chat, defaults={"autoscaler": memory})
    form = opened(client, chat) | {"min_replicas": "0"}
    preview = f"/deployments/{chat.pk}/edit/preview/"
    assert "It falls asleep after 5 min without a request." in squeeze(client.post(preview, form))
    server = redis.Redis.from_url(redis_url)
    server.set(contract.EPOCH, "e1")
    server.zadd(contract.GATEWAYS, {"g1": server.time()[0]})
    assert words in squeeze(client.post(preview, form))
    assert "falls asleep" not in squeeze(client.post(preview, form | {"min_replicas": "2"}))


def test_what_is_wrong_is_named_in_the_preview(owner, chat):
    client = signed_in(owner)
    form = opened(client, chat) | {"min_replicas": "4", "max_replicas": "2"}
    text = squeeze(client.post(f"/deployments/{chat.pk}/edit/preview/", form))
    assert "Fix 1 field" in text
    assert 'href="#max_replicas"' in text


def test_nothing_is_saved_that_was_not_shown_and_the_second_press_saves_it(owner, chat):
    client = signed_in(owner)
    form = opened(client, chat) | {"max_replicas": "5", "max_concurrency": "32"}
    asked = saved(client, chat, form)
    assert asked.status_code == 200
    assert "Review your changes" in squeeze(asked)
    assert RESTARTS in squeeze(asked)
    assert Deployment.objects.get().version == chat.version
    done = saved(client, chat, resent(asked, form))
    assert done["Location"] == f"/deployments/{chat.pk}/"
    row = Deployment.objects.get()
    assert (row.max_replicas, row.version, row.revision.number) == (5, chat.version + 1, 2)
    assert row.revision.spec["engine"]["max_concurrency"] == 32
    assert RESTARTS in squeeze(client.get(done["Location"]))


def test_what_takes_effect_at_once_makes_no_revision(owner, chat):
    client = signed_in(owner)
    form = opened(client, chat) | {"description": "For everybody", "labels": "team=blue"}
    saved(client, chat, resent(saved(client, chat, form), form))
    row = Deployment.objects.get()
    assert (row.description, row.labels, row.revision.number) == ("For everybody", {"team": "blue"}, 1)


def test_without_a_change_it_says_so_and_changes_nothing(owner, chat):
    client = signed_in(owner)
    page = client.get(saved(client, chat, opened(client, chat))["Location"]).content.decode()
    assert "No changes: chat already has this configuration." in page
    assert Deployment.objects.get().version == chat.version


@pytest.mark.parametrize(
    ("field", "typed"),
    [("max_replicas", "0"), ("scale_down_delay_seconds", "1"), ("sleep_after_seconds", "soon"),
     ("max_concurrency", "0"), ("adapter-0-repository", "no slash")],
)  # fmt: skip
def test_what_is_wrong_is_said_at_its_field_and_nothing_typed_is_lost(owner, chat, field, typed):
    client = signed_in(owner)
    form = opened(client, chat) | {field: typed, "description": "Typed before"}
    text = squeeze(saved(client, chat, form))
    assert f'id="{field}-problem"' in text
    assert f'href="#{field}"' in text
    assert f'value="{typed}"' in text
    assert "Typed before" in text


def test_the_second_of_two_is_told_what_the_first_changed_and_both_changes_last(owner, chat):
    client = signed_in(owner)
    form = opened(client, chat) | {"description": "Mine", "max_replicas": "5"}
    changed_by("mara@example.com", chat, {"engine": {"max_concurrency": 24}, "description": "Hers"})
    told = saved(client, chat, form)
    text = squeeze(told)
    assert "mara@example.com changed this deployment while you were editing" in text
    assert re.search("Max concurrency.*16.*24", text)
    assert "Both of you changed: description." in text
    assert ">Mine</textarea>" in text
    assert Deployment.objects.get().max_replicas == 3
    answer = saved(client, chat, resent(told, form) | {"max_concurrency": "24"})
    row = Deployment.objects.get()
    assert answer.status_code == 302
    assert (row.description, row.max_replicas, row.revision.spec["engine"]["max_concurrency"]) == ("Mine", 5, 24)


def test_who_types_while_another_saves_is_told_by_the_preview(owner, chat):
    client = signed_in(owner)
    form = opened(client, chat) | {"max_replicas": "5"}
    changed_by("mara@example.com", chat, {"description": "Hers"})
    text = squeeze(client.post(f"/deployments/{chat.pk}/edit/preview/", form))
    assert "mara@example.com changed this deployment while you were editing" in text
    assert 'name="seal" form="edit" value=""' in text


def test_a_form_whose_origin_is_not_known_is_shown_against_what_is_in_force(owner, chat):
    client = signed_in(owner)
    form = opened(client, chat) | {"version": "-7", "base": "forged", "max_replicas": "5"}
    text = squeeze(saved(client, chat, form))
    assert "changed this deployment while you were editing" in text
    assert 'id="max_replicas" name="max_replicas" inputmode="numeric" value="5"' in text
    assert Deployment.objects.get().max_replicas == 3


def test_rows_for_adapters_come_and_go_without_script_and_nothing_is_judged_yet(owner, chat):
    client = signed_in(owner)
    form = opened(client, chat) | {"max_replicas": "none", "adapter-0-repository": "northwind/sql"}
    more = squeeze(client.post(f"/deployments/{chat.pk}/edit/", form | {"add_adapter": "1"}))
    assert 'id="adapter-1-repository"' in more
    assert 'value="northwind/sql"' in more
    assert 'class="problem"' not in more
    less = squeeze(client.post(f"/deployments/{chat.pk}/edit/", form | {"remove_adapter": "0"}))
    assert 'id="adapter-0-repository"' not in less


def test_what_is_terminating_cannot_be_edited(owner, now):
    ending = rows.in_status(owner, DeploymentStatus.TERMINATING, now)
    client = signed_in(owner)
    assert client.get(f"/deployments/{ending.pk}/edit/")["Location"] == f"/deployments/{ending.pk}/"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (DeploymentStatus.TERMINATED, "Revision 2, used once it is redeployed; nothing restarts"),
        (DeploymentStatus.FAILED, "Starts again with revision 2"),
        (DeploymentStatus.SLEEPING, "Revision 2, used by the next start; nothing runs now"),
    ],
)
def test_the_effect_follows_from_what_runs_now(owner, now, status, words):
    made = rows.in_status(owner, status, now)
    client = signed_in(owner)
    form = opened(client, made) | {"max_concurrency": "32"}
    assert words in squeeze(client.post(f"/deployments/{made.pk}/edit/preview/", form))


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER])
def test_who_may_not_deploy_may_not_edit_or_clone(owner, chat, role):
    client = signed_in(owner, role)
    for path in ("edit/", "clone/"):
        assert client.get(f"/deployments/{chat.pk}/{path}").status_code == 403
    assert client.post(f"/deployments/{chat.pk}/edit/", {}).status_code == 403


def test_a_clone_starts_with_everything_but_the_name(owner, chat, now):
    rows.deployment(owner, now, name="chat-2")
    client = signed_in(owner)
    text = squeeze(client.get(f"/deployments/{chat.pk}/clone/"))
    assert 'name="name" value="chat-3"' in text
    assert 'value="llama-3.1-8b-instruct" checked' in text
    assert 'name="gpu" value="l40s-48gb" checked' in text
    assert "For the help centre" in text
    form = texts_of(spec_of(chat).to_json()) | {"name": "chat-3", "organization": owner.slug}
    made = Deployment.objects.get(pk=client.post("/deployments/new/", form)["Location"].split("/")[2])
    assert made.revision.spec_hash == chat.revision.spec_hash


def test_min_zero_warns_with_what_was_measured_here_and_says_so_when_nothing_was(owner, chat, now):
    client = signed_in(owner)
    usual = opened(client, chat)
    assert "In production" not in squeeze(client.get("/deployments/new/capacity/", usual))
    asleep = squeeze(client.get("/deployments/new/capacity/", usual | {"min_replicas": "0"}))
    assert "In production, set min to 1 or more." in asleep
    assert "has not started on these GPUs before" in asleep
    rows.replica(chat, ReplicaState.READY, now, ready_at=now)
    measured = squeeze(client.get("/deployments/new/capacity/", usual | {"min_replicas": "0"}))
    assert "typically 0:30, based on 1 earlier start" in measured


def test_an_edit_keeps_the_limits_for_which_the_form_has_no_fields(owner, chat):
    limits = {"user": {"tokens_per_minute": 70}}
    Deployment.objects.update(limits=limits)
    client = signed_in(owner)
    chat.refresh_from_db()
    form = opened(client, chat) | {"description": "For everybody"}
    answer = saved(client, chat, form)
    if answer.status_code == 200:
        answer = saved(client, chat, resent(answer, form))
    assert answer.status_code == 302
    chat.refresh_from_db()
    assert (chat.description, chat.limits) == ("For everybody", limits)
