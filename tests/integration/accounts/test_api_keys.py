"""Keys from creation to revocation, with the records that the gateways read."""

from datetime import UTC, datetime, timedelta

import pytest
import redis

from accounts import publish, queries, services
from accounts.models import ApiKey, Organization, User
from accounts.roles import Role
from gateway import contract

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def store(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url)


@pytest.fixture
def organization() -> Organization:
    return services.create_organization(slug="northwind", name="Northwind")


@pytest.fixture
def user(organization: Organization, store: redis.Redis) -> User:
    user = User.objects.create_user("ada@example.com", "correct horse battery")
    services.set_role(organization=organization, user=user, role=Role.MEMBER)
    return user


def make(organization: Organization, user: User, **changes: object) -> tuple[ApiKey, str]:
    values = {
        "name": "ci",
        "scopes": ["inference"],
        "expires_at": None,
        "deployments": None,
        "now": NOW,
    } | changes
    return services.create_key(organization=organization, user=user, **values)


def published(store: redis.Redis) -> dict[str, contract.KeyRecord]:
    rows = store.hgetall(contract.KEYS).items()
    return {name.decode(): contract.KeyRecord.from_json(text) for name, text in rows}


def test_a_new_key_is_found_by_its_secret_and_only_its_hash_is_stored(organization, user):
    key, secret = make(organization, user)
    assert queries.key_of_secret(secret, NOW) == key
    stored = ApiKey.objects.values_list().get(pk=key.pk)
    assert not any(secret in str(value) for value in stored)
    assert secret.startswith(key.prefix)


def test_a_new_key_reaches_the_gateways_at_once(organization, user, store):
    generation = int(store.get(contract.GENERATION) or 0)
    key, secret = make(organization, user)
    assert published(store)[contract.key_hash(secret)].key_id == str(key.id)
    assert int(store.get(contract.GENERATION)) > generation


def test_a_revoked_key_leaves_the_gateways_at_once_and_opens_nothing(organization, user, store):
    key, secret = make(organization, user)
    services.revoke_key(key, NOW)
    assert contract.key_hash(secret) not in published(store)
    assert queries.key_of_secret(secret, NOW) is None


def test_a_listing_read_before_a_revocation_cannot_bring_the_key_back(organization, user, store, monkeypatch):
    key, secret = make(organization, user)
    rows = queries.usable_keys
    calls = []

    def revoke_while_reading(now):
        listed = list(rows(now))
        if not calls:
            calls.append(1)
            services.revoke_key(key, NOW)
        return listed

    monkeypatch.setattr(publish, "usable_keys", revoke_while_reading)
    publish.publish_keys(NOW)
    assert contract.key_hash(secret) not in published(store)


def test_a_key_expires_at_its_moment(organization, user):
    _, secret = make(organization, user, expires_at=NOW + timedelta(hours=1))
    assert queries.key_of_secret(secret, NOW + timedelta(minutes=59))
    assert queries.key_of_secret(secret, NOW + timedelta(hours=1)) is None


def test_leaving_the_organization_revokes_the_persons_keys(organization, user, store):
    _, secret = make(organization, user)
    services.remove_member(organization=organization, user=user, now=NOW)
    assert queries.key_of_secret(secret, NOW) is None
    assert published(store) == {}


def test_a_viewers_key_may_not_call(organization, user, store):
    _, secret = make(organization, user, scopes=["inference", "read"])
    services.set_role(organization=organization, user=user, role=Role.VIEWER)
    assert published(store)[contract.key_hash(secret)].scopes == ["read"]


def test_a_disabled_users_key_opens_nothing(organization, user):
    _, secret = make(organization, user)
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert queries.key_of_secret(secret, NOW) is None


def test_playground_keys_live_five_minutes_and_are_not_listed(organization, user):
    secret = services.mint_playground_key(organization=organization, user=user, deployment_id=organization.id, now=NOW)
    assert queries.key_of_secret(secret, NOW + timedelta(seconds=299))
    assert queries.key_of_secret(secret, NOW + timedelta(seconds=300)) is None
    assert not queries.api_keys([organization.id]).exists()
    assert services.forget_old_playground_keys(NOW + timedelta(days=2)) == 1


def test_a_misspelt_secret_costs_no_query(organization, user, django_assert_num_queries):
    _, secret = make(organization, user)
    with django_assert_num_queries(0):
        assert queries.key_of_secret(secret[:-1] + ("a" if secret[-1] != "a" else "b"), NOW) is None
