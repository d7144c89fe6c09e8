"""The API keys page."""

import re
from datetime import datetime

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import ApiKey, Organization
from accounts.queries import find_usable_key
from accounts.roles import Role
from accounts.services import create_key
from tests.integration.console import deployment_rows as rows
from tests.integration.console.markup import squeeze

pytestmark = pytest.mark.django_db
BACKEND = "django.contrib.auth.backends.ModelBackend"
SECRET = re.compile(r'<code id="secret">(mc_[0-9A-Za-z]+)</code>')


@pytest.fixture
def owner() -> Organization:
    return rows.organization()


@pytest.fixture
def now() -> datetime:
    return timezone.now()


def signed_in(organization: Organization, role: Role = Role.MEMBER) -> Client:
    client = Client()
    client.force_login(rows.person(f"{role}@example.com", organization, role), backend=BACKEND)
    return client


def key_of(organization: Organization, email: str, name: str, now: datetime) -> ApiKey:
    user = rows.person(email, organization, Role.MEMBER)
    made, _ = create_key(
        organization=organization,
        user=user,
        name=name,
        scopes=["inference"],
        expires_at=None,
        deployments=None,
        now=now,
    )
    return made


def test_a_new_key_works_and_its_secret_is_shown_once(owner, now):
    client = signed_in(owner)
    made = client.post("/settings/api-keys/", {"name": "bot", "scopes": ["inference"], "expires": "7"})
    assert (made.status_code, made["Location"]) == (302, "/settings/api-keys/")
    answer = client.get("/settings/api-keys/")
    secret = SECRET.search(answer.content.decode())[1]
    found = find_usable_key(secret, now)
    assert (found.name, found.scopes, found.deployments) == ("bot", ["inference"], None)
    assert (found.expires_at - now).days in (6, 7)
    assert "no-store" in answer["Cache-Control"]
    again = client.get("/settings/api-keys/").content.decode()
    assert secret not in again
    assert found.prefix in again


def test_the_secret_travels_where_no_script_and_no_other_page_or_person_reads_it(owner):
    client = signed_in(owner)
    made = client.post("/settings/api-keys/", {"name": "bot", "scopes": ["inference"], "expires": "7"})
    name, cookie = next(pair for pair in made.cookies.items() if pair[0].endswith("made_key"))
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/settings/api-keys/")
    assert 0 < cookie["max-age"] <= 60
    other = signed_in(owner, Role.ADMIN)
    other.cookies[name] = cookie.value
    assert not SECRET.search(other.get("/settings/api-keys/").content.decode())
    assert client.head("/settings/api-keys/").status_code == 200
    assert SECRET.search(client.get("/settings/api-keys/").content.decode())


def test_a_cookie_that_was_made_up_shows_no_secret(owner):
    client = signed_in(owner)
    made = client.post("/settings/api-keys/", {"name": "bot", "scopes": ["inference"], "expires": "7"})
    name = next(name for name in made.cookies if name.endswith("made_key"))
    client.cookies[name] = "x mc_forged:signature"
    assert not SECRET.search(client.get("/settings/api-keys/").content.decode())


def test_a_key_may_be_limited_to_deployments(owner, now):
    one = rows.deployment(owner, now, name="one")
    rows.deployment(owner, now, name="two")
    form = {"name": "bot", "scopes": ["inference"], "expires": "", "limited": "some", "deployments": [str(one.pk)]}
    client = signed_in(owner)
    client.post("/settings/api-keys/", form)
    key = ApiKey.objects.get()
    assert (key.deployments, key.expires_at) == ([one.pk], None)
    assert "never expires" in client.get("/settings/api-keys/").content.decode()


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"name": ""}, "name", "Enter a name"),
        ({"scopes": []}, "scopes", "Select at least one scope"),
        ({"limited": "some"}, "deployments", "Tick at least one deployment"),
        ({"expires": "12345"}, "expires", "Select a valid choice"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(owner, now, changed, field, words):
    rows.deployment(owner, now)
    form = {"name": "bot", "scopes": ["inference"], "expires": "7", **changed}
    answer = signed_in(owner).post("/settings/api-keys/", form)
    assert answer.status_code == 200
    assert f'id="{field}-problem"' in answer.content.decode()
    assert words in answer.content.decode()
    assert not ApiKey.objects.exists()


def test_members_see_their_own_keys_admins_those_of_the_organization(owner, now):
    key_of(owner, "ada@example.com", "adas-key", now)
    key_of(rows.organization("halden"), "bob@example.com", "bobs-key", now)
    member = signed_in(owner).get("/settings/api-keys/").content.decode()
    admin = signed_in(owner, Role.ADMIN).get("/settings/api-keys/").content.decode()
    assert "adas-key" not in member
    assert "adas-key" in admin
    assert "bobs-key" not in admin


def test_revoking_asks_first_and_then_holds(owner, now):
    client = signed_in(owner, Role.ADMIN)
    key = key_of(owner, "ada@example.com", "adas-key", now)
    assert "Revoke adas-key?" in client.get(f"/settings/api-keys/{key.pk}/revoke/").content.decode()
    client.post(f"/settings/api-keys/{key.pk}/revoke/")
    key.refresh_from_db()
    assert key.revoked_at is not None
    text = squeeze(client.get("/settings/api-keys/"))
    assert re.search(r'data-label="Expiry" class="kept"><span class="status tone-gone"[^>]*>.*?Revoked ', text)


def test_nobody_revokes_a_key_that_they_may_not_see(owner, now):
    key = key_of(owner, "ada@example.com", "adas-key", now)
    assert signed_in(owner).post(f"/settings/api-keys/{key.pk}/revoke/").status_code == 404
    key.refresh_from_db()
    assert key.revoked_at is None


def test_a_viewer_makes_no_key(owner):
    answer = signed_in(owner, Role.VIEWER).post("/settings/api-keys/", {"name": "bot", "scopes": ["inference"]})
    assert answer.status_code == 200
    assert not ApiKey.objects.exists()
