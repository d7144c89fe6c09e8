"""API keys from creation to revocation, and the records published to the gateways."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
import redis
from django.db import connection

from accounts import key_publication, queries, services
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


def create_key(organization: Organization, user: User, **changes: object) -> tuple[ApiKey, str]:
    values = {
        "name": "ci",
        "scopes": ["inference"],
        "expires_at": None,
        "deployments": None,
        "now": NOW,
    } | changes
    return services.create_key(organization=organization, user=user, **values)


def read_published_keys(store: redis.Redis) -> dict[str, contract.KeyRecord]:
    rows = store.hgetall(contract.KEYS).items()
    return {name.decode(): contract.KeyRecord.from_json(text) for name, text in rows}


def test_a_new_key_is_found_by_its_secret_and_only_its_hash_is_stored(organization, user):
    key, secret = create_key(organization, user)
    assert queries.find_usable_key(secret, NOW) == key
    stored = ApiKey.objects.values_list().get(pk=key.pk)
    assert not any(secret in str(value) for value in stored)
    assert secret.startswith(key.prefix)


def test_a_new_key_reaches_the_gateways_at_once(organization, user, store):
    key, secret = create_key(organization, user)
    assert read_published_keys(store)[contract.key_hash(secret)].key_id == str(key.id)
    assert store.xrevrange(contract.CHANGES, count=1)[0][1] == {b"key": contract.key_hash(secret).encode()}


def test_a_revoked_key_is_withdrawn_from_the_gateways_at_once_and_unusable(organization, user, store):
    key, secret = create_key(organization, user)
    services.revoke_key(key, NOW)
    assert contract.key_hash(secret) not in read_published_keys(store)
    assert queries.find_usable_key(secret, NOW) is None


def test_rows_read_before_a_revocation_do_not_restore_the_key(organization, user, store, monkeypatch):
    key, secret = create_key(organization, user)
    store.hdel(contract.KEYS, key.key_hash)
    build = key_publication.build_key_record

    def revoke() -> None:
        services.revoke_key(key, NOW)
        connection.close()

    revocation = threading.Thread(target=revoke)

    def build_while_it_is_revoked(*row):
        if not revocation.ident:
            revocation.start()
            while not ApiKey.objects.filter(pk=key.pk, revoked_at=NOW).exists():
                continue
        return build(*row)

    monkeypatch.setattr(key_publication, "build_key_record", build_while_it_is_revoked)
    key_publication.publish_keys(NOW)
    revocation.join()
    assert contract.key_hash(secret) not in read_published_keys(store)


def test_after_redis_lost_its_data_every_key_is_published_again(organization, user, store):
    _, secret = create_key(organization, user)
    store.flushdb()
    key_publication.publish_keys(NOW + timedelta(days=90))
    assert contract.key_hash(secret) in read_published_keys(store)
    assert store.hexists(contract.PUBLISHED, contract.KEYS_COMPLETE)


def test_a_redis_that_loses_its_data_during_a_publication_is_not_marked_complete(
    organization, user, store, monkeypatch
):
    create_key(organization, user)
    store.flushdb()
    store.set(contract.EPOCH, "one")
    compare = key_publication._compare_published

    def compare_and_lose(*arguments):
        compare(*arguments)
        store.flushdb()
        store.set(contract.EPOCH, "two")

    with monkeypatch.context() as losing:
        losing.setattr(key_publication, "_compare_published", compare_and_lose)
        key_publication.publish_keys(NOW)
    assert not store.hexists(contract.PUBLISHED, contract.KEYS_COMPLETE)
    key_publication.publish_keys(NOW)
    assert store.hexists(contract.PUBLISHED, contract.KEYS_COMPLETE)


def read_announced_keys(store: redis.Redis) -> list[str]:
    return [fields[b"key"].decode() for _, fields in store.xrange(contract.CHANGES)]


def test_a_revocation_is_announced_also_while_redis_has_lost_the_key(organization, user, store):
    key, _ = create_key(organization, user)
    other, _ = create_key(organization, user)
    store.flushdb()
    services.revoke_key(key, NOW)
    assert read_announced_keys(store) == [key.key_hash]
    store.flushdb()
    services.remove_member(organization=organization, user=user, now=NOW)
    assert set(read_announced_keys(store)) == {key.key_hash, other.key_hash}
    store.flushdb()
    key_publication.withdraw_keys([key.key_hash])
    assert read_announced_keys(store) == [key.key_hash]


def test_periodic_publications_together_compare_every_key(organization, user, store, monkeypatch):
    monkeypatch.setattr(key_publication, "BATCH_SIZE", 2)
    monkeypatch.setattr(key_publication, "MAX_COMPARED", 2)
    hashes = {contract.key_hash(create_key(organization, user)[1]) for _ in range(7)}
    key_publication.publish_keys(NOW)
    for name in hashes:
        store.hdel(contract.KEYS, name)
    store.hset(contract.KEYS, "f" * 64, "{}")
    later = NOW + timedelta(days=90)
    for _ in range(4):
        key_publication.publish_keys(later)
    assert set(read_published_keys(store)) == hashes


def test_a_key_is_unusable_from_its_expiry_time_on(organization, user):
    _, secret = create_key(organization, user, expires_at=NOW + timedelta(hours=1))
    assert queries.find_usable_key(secret, NOW + timedelta(minutes=59))
    assert queries.find_usable_key(secret, NOW + timedelta(hours=1)) is None


def test_leaving_the_organization_revokes_the_users_keys(organization, user, store):
    _, secret = create_key(organization, user)
    services.remove_member(organization=organization, user=user, now=NOW)
    assert queries.find_usable_key(secret, NOW) is None
    assert read_published_keys(store) == {}


def test_the_key_of_a_viewer_has_no_inference_scope(organization, user, store):
    _, secret = create_key(organization, user, scopes=["inference", "read"])
    services.set_role(organization=organization, user=user, role=Role.VIEWER)
    assert read_published_keys(store)[contract.key_hash(secret)].scopes == ["read"]


def test_the_key_of_an_inactive_user_is_unusable(organization, user):
    _, secret = create_key(organization, user)
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert queries.find_usable_key(secret, NOW) is None


def test_playground_keys_live_five_minutes_and_are_not_listed(organization, user):
    secret = services.create_playground_key(
        organization=organization, user=user, deployment_id=organization.id, now=NOW
    )
    assert queries.find_usable_key(secret, NOW + timedelta(seconds=299))
    assert queries.find_usable_key(secret, NOW + timedelta(seconds=300)) is None
    assert not queries.list_api_keys([organization.id]).exists()
    assert services.delete_expired_playground_keys(NOW + timedelta(days=2)) == 1


def test_a_mistyped_secret_causes_no_query(organization, user, django_assert_num_queries):
    _, secret = create_key(organization, user)
    with django_assert_num_queries(0):
        assert queries.find_usable_key(secret[:-1] + ("a" if secret[-1] != "a" else "b"), NOW) is None


def test_uses_of_many_keys_are_recorded_in_one_statement_and_never_go_back(
    organization, user, django_assert_num_queries
):
    keys = [create_key(organization, user)[0] for _ in range(3)]
    services.record_key_use({keys[1].pk: NOW, keys[2].pk: NOW})
    with django_assert_num_queries(1):
        services.record_key_use(
            {
                keys[0].pk: NOW,
                keys[1].pk: NOW + timedelta(seconds=5),
                keys[2].pk: NOW - timedelta(seconds=5),
                organization.pk: NOW,  # of a key that was deleted
            }
        )
    used = [ApiKey.objects.get(pk=key.pk).last_used_at for key in keys]
    assert used == [NOW, NOW + timedelta(seconds=5), NOW]
