from datetime import UTC, datetime

import pytest

from accounts.models import ApiKey, Membership, Organization, User
from accounts.queries import find_usable_key
from accounts.services import revoke_key
from console.machine import demo_accounts

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]
NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)


def test_there_is_an_operator_a_user_of_each_role_and_four_keys():
    credentials = demo_accounts.ensure_demo_data({}, NOW)
    assert credentials["member"]["role"] == "admin"
    roles = Membership.objects.filter(organization__slug="demo").values_list("role", flat=True)
    assert sorted(roles) == ["admin", "member", "owner", "viewer"]
    operator = User.objects.get(email=credentials["operator"]["email"])
    assert operator.is_operator
    assert operator.check_password(credentials["operator"]["password"])
    owners = {name: find_usable_key(secret, NOW) for name, secret in credentials["api_keys"].items()}
    assert {name: key.user.email for name, key in owners.items()} == dict.fromkeys(
        ("inference", "read", "manage"), credentials["member"]["email"]
    ) | {"operator": operator.email}
    assert {name: key.scopes for name, key in owners.items()}["inference"] == ["inference"]


def test_creating_the_demo_data_is_idempotent():
    credentials = demo_accounts.ensure_demo_data({}, NOW)
    assert demo_accounts.ensure_demo_data(credentials, NOW) == credentials
    assert ApiKey.objects.count() == 4


def test_a_key_that_was_revoked_is_replaced():
    credentials = demo_accounts.ensure_demo_data({}, NOW)
    revoke_key(find_usable_key(credentials["api_keys"]["read"], NOW), NOW)
    again = demo_accounts.ensure_demo_data(credentials, NOW)
    assert again["api_keys"]["read"] != credentials["api_keys"]["read"]
    assert again["api_keys"]["manage"] == credentials["api_keys"]["manage"]


def test_removing_deletes_users_keys_and_organization():
    demo_accounts.ensure_demo_data({}, NOW)
    assert demo_accounts.remove_demo_data(NOW)["removed"]
    assert not Organization.objects.filter(slug="demo").exists()
    assert not User.objects.exists()
    assert not ApiKey.objects.exists()
