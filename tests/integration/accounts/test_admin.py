"""Changes in Django admin are published to the gateways at once; removed members lose their keys."""

from datetime import UTC, datetime

import pytest
import redis
from django.test import Client

from accounts import services
from accounts.models import ApiKey, Membership, Organization, User
from accounts.roles import Role
from gateway import contract

pytestmark = pytest.mark.django_db(transaction=True)
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def store(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url)


@pytest.fixture
def staff(transactional_db, store) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root@example.com", "correct horse battery"))
    return client


@pytest.fixture
def organization(store) -> Organization:
    return services.create_organization(slug="northwind", name="Northwind")


@pytest.fixture
def ada(organization) -> User:
    user = User.objects.create_user("ada@example.com", "correct horse battery")
    services.set_role(organization=organization, user=user, role=Role.MEMBER)
    return user


@pytest.fixture
def key(organization, ada) -> ApiKey:
    return services.create_key(
        organization=organization,
        user=ada,
        name="ci",
        scopes=["inference", "manage"],
        expires_at=None,
        deployments=None,
        now=NOW,
    )[0]


def read_published_key(store, key) -> contract.KeyRecord | None:
    record = store.hget(contract.KEYS, key.key_hash)
    return contract.KeyRecord.from_json(record) if record else None


def save_user(staff, user, **changes):
    """Submit the change form with `changes`; browsers do not send unticked checkboxes, so None omits a field."""
    form = {"email": user.email, "name": user.name, "is_active": "on"} | changes
    answer = staff.post(
        f"/admin/accounts/user/{user.pk}/change/", {name: value for name, value in form.items() if value is not None}
    )
    assert answer.status_code == 302


def save_members(staff, organization, *rows, **changes):
    """Submit the membership rows: (membership or None, user, role, whether to delete the row)."""
    prefix = "memberships"
    form = {
        "name": organization.name,
        "slug": organization.slug,
        f"{prefix}-TOTAL_FORMS": len(rows),
        f"{prefix}-INITIAL_FORMS": sum(row[0] is not None for row in rows),
    } | changes
    for index, (membership, user, role, deleted) in enumerate(rows):
        form |= {
            f"{prefix}-{index}-id": membership.pk if membership else "",
            f"{prefix}-{index}-organization": organization.pk,
            f"{prefix}-{index}-user": user.pk,
            f"{prefix}-{index}-role": role,
        }
        form |= {f"{prefix}-{index}-DELETE": "on"} if deleted else {}
    answer = staff.post(f"/admin/accounts/organization/{organization.pk}/change/", form)
    assert answer.status_code == 302, answer.context["errors"]


def test_deactivating_a_user_revokes_all_keys_permanently(staff, ada, key, store):
    save_user(staff, ada, is_active=None)
    key.refresh_from_db()
    assert (key.revoked_at is not None, read_published_key(store, key)) == (True, None)
    save_user(staff, ada)
    assert read_published_key(store, key) is None


def test_a_change_of_the_operator_flag_is_published_at_once(staff, ada, organization, key, store):
    Membership.objects.all().delete()
    save_user(staff, ada, is_operator="on")
    assert read_published_key(store, key).scopes == ["inference", "manage"]
    save_user(staff, ada)
    assert read_published_key(store, key) is None


def test_renaming_a_user_revokes_no_key(staff, ada, key, store):
    save_user(staff, ada, name="Ada")
    key.refresh_from_db()
    assert (key.revoked_at, read_published_key(store, key) is not None) == (None, True)


def add_user(staff, **fields):
    return staff.post("/admin/accounts/user/add/", {"email": "New@Example.com", "name": "", "is_active": "on"} | fields)


def test_a_new_user_gets_the_password_of_the_form_and_signs_in_with_any_case_of_the_address(staff):
    answer = add_user(
        staff, usable_password="true", password1="correct horse battery", password2="correct horse battery"
    )
    assert answer.status_code == 302
    login = {"login": "NEW@example.com", "password": "correct horse battery"}
    assert Client().post("/accounts/login/", login).status_code == 302


def test_a_password_that_is_too_short_is_refused_at_its_field(staff):
    answer = add_user(staff, usable_password="true", password1="short", password2="short")
    assert "at least 12 characters" in answer.content.decode()
    assert not User.objects.filter(email="new@example.com").exists()


def test_a_new_user_can_be_added_without_a_password(staff):
    assert add_user(staff, usable_password="false").status_code == 302
    assert not User.objects.get(email="new@example.com").has_usable_password()


def test_staff_can_change_the_password_of_a_user(staff, ada):
    page = staff.get(f"/admin/accounts/user/{ada.pk}/change/").content.decode()
    assert "../password/" in page
    words = {"usable_password": "true", "password1": "another long password", "password2": "another long password"}
    assert staff.post(f"/admin/accounts/user/{ada.pk}/password/", words).status_code == 302
    ada.refresh_from_db()
    assert ada.check_password("another long password")


def test_a_changed_role_limits_the_keys_at_once(staff, ada, organization, key, store):
    membership = Membership.objects.get()
    save_members(staff, organization, (membership, ada, "viewer", False))
    assert read_published_key(store, key).scopes == ["manage"]
    save_members(staff, organization, (membership, ada, "owner", False))
    assert read_published_key(store, key).scopes == ["inference", "manage"]


def test_a_removed_member_loses_the_keys_of_that_organization(staff, ada, organization, key, store):
    save_members(staff, organization, (Membership.objects.get(), ada, "member", True))
    key.refresh_from_db()
    assert (key.revoked_at is not None, read_published_key(store, key)) == (True, None)
    assert not Membership.objects.exists()


def test_replacing_the_user_of_a_row_removes_one_member_and_adds_another(staff, ada, organization, key, store):
    grace = User.objects.create_user("grace@example.com", "correct horse battery")
    save_members(staff, organization, (Membership.objects.get(), grace, "admin", False))
    key.refresh_from_db()
    assert key.revoked_at is not None
    assert [(membership.user, membership.role) for membership in Membership.objects.all()] == [(grace, "admin")]


def test_a_new_member_gets_the_chosen_role(staff, organization, store):
    grace = User.objects.create_user("grace@example.com", "correct horse battery")
    save_members(staff, organization, (None, grace, "viewer", False))
    assert [(membership.user, membership.role) for membership in Membership.objects.all()] == [(grace, "viewer")]


def test_limits_are_shown_but_cannot_be_changed(staff, organization, store):
    services.set_limits(organization, {"user": {"requests_per_minute": 7}})
    assert (
        "requests_per_minute" in staff.get(f"/admin/accounts/organization/{organization.pk}/change/").content.decode()
    )
    save_members(staff, organization, limits='"abc"')
    organization.refresh_from_db()
    assert organization.limits == {"user": {"requests_per_minute": 7}}


@pytest.mark.parametrize("kind", ["user", "organization"])
def test_a_user_or_organization_with_keys_cannot_be_deleted(staff, ada, organization, key, store, kind):
    row = ada if kind == "user" else organization
    answer = staff.post(f"/admin/accounts/{kind}/{row.pk}/delete/", {"post": "yes"})
    assert answer.status_code == 403
    assert read_published_key(store, key) is not None
