from datetime import UTC, datetime

import pytest

from accounts.models import ApiKey, Membership, Organization, User
from accounts.queries import find_usable_key
from accounts.services import revoke_key
from console.machine import demo

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]
NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)


def test_there_is_an_operator_a_person_of_each_role_and_four_keys():
    made = demo.ensure({}, NOW)
    assert made["member"]["role"] == "admin"
    roles = Membership.objects.filter(organization__slug="demo").values_list("role", flat=True)
    assert sorted(roles) == ["admin", "member", "owner", "viewer"]
    operator = User.objects.get(email=made["operator"]["email"])
    assert operator.is_operator
    assert operator.check_password(made["operator"]["password"])
    owners = {name: find_usable_key(secret, NOW) for name, secret in made["api_keys"].items()}
    assert {name: key.user.email for name, key in owners.items()} == dict.fromkeys(
        ("inference", "read", "manage"), made["member"]["email"]
    ) | {"operator": operator.email}
    assert {name: key.scopes for name, key in owners.items()}["inference"] == ["inference"]


def test_a_second_start_changes_nothing():
    made = demo.ensure({}, NOW)
    assert demo.ensure(made, NOW) == made
    assert ApiKey.objects.count() == 4


def test_a_key_that_was_revoked_is_replaced():
    made = demo.ensure({}, NOW)
    revoke_key(find_usable_key(made["api_keys"]["read"], NOW), NOW)
    again = demo.ensure(made, NOW)
    assert again["api_keys"]["read"] != made["api_keys"]["read"]
    assert again["api_keys"]["manage"] == made["api_keys"]["manage"]


def test_removing_takes_people_keys_and_organization_along():
    demo.ensure({}, NOW)
    assert demo.remove(NOW)["removed"]
    assert not Organization.objects.filter(slug="demo").exists()
    assert not User.objects.exists()
    assert not ApiKey.objects.exists()
