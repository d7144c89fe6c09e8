"""Idempotency-Key: once is once, also at the same time, and the stored answer gives nothing away."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from accounts.models import ApiKey
from console.api import idempotency
from console.models import IdempotencyRecord
from deployments.models import Deployment, DeploymentEvent
from tests.integration.api import world
from tests.integration.api.world import BODY, Api

pytestmark = pytest.mark.django_db
KEY = {"name": "ci", "scopes": ["read"]}
ONCE = {"Idempotency-Key": "order-1"}


def test_the_same_request_again_gets_the_same_answer_and_does_nothing(api):
    first, second = api.post("/api-keys", KEY, **ONCE), api.post("/api-keys", KEY, **ONCE)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert "Idempotency-Replayed" not in first
    assert second["Idempotency-Replayed"] == "true"
    assert ApiKey.objects.filter(name="ci").count() == 1


def test_a_creation_is_replayed_as_a_creation(api):
    first, second = api.post("/deployments", BODY, **ONCE), api.post("/deployments", BODY, **ONCE)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first["Location"] == second["Location"]
    assert first.json() == second.json()


def test_actions_are_replayed_too(api, deployed):
    answers = [api.post("/deployments/chat/terminate", **ONCE) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert DeploymentEvent.objects.filter(kind="terminate_requested").count() == 1


def test_another_body_under_the_same_key_is_a_conflict(api):
    api.post("/api-keys", KEY, **ONCE)
    answer = api.post("/api-keys", KEY | {"name": "other"}, **ONCE)
    assert answer.status_code == 409
    assert answer.json()["type"].endswith("#idempotency-key-reused")


def test_a_refused_request_may_be_corrected_under_its_key(api):
    assert api.post("/api-keys", {"name": "ci"}, **ONCE).status_code == 422
    assert api.post("/api-keys", KEY, **ONCE).status_code == 201


def test_a_key_counts_per_address_organization_and_person(api, northwind, contoso):
    answers = [
        api.post("/api-keys", KEY, **ONCE),
        api.post("/deployments", BODY, **ONCE),
        Api(northwind.secrets["owner"]).post("/api-keys", KEY, **ONCE),
        Api(contoso.secrets["admin"]).post("/api-keys", KEY, **ONCE),
    ]
    assert [answer.status_code for answer in answers] == [201] * 4
    assert len({answer.json()["id"] for answer in answers}) == 4


def test_a_day_later_the_key_is_new(api):
    first = api.post("/api-keys", KEY, **ONCE).json()
    IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(hours=24))
    assert api.post("/api-keys", KEY, **ONCE).json()["id"] != first["id"]
    assert IdempotencyRecord.objects.count() == 1


def test_no_secret_is_stored_in_the_clear(api):
    secret = api.post("/api-keys", KEY, **ONCE).json()["secret"]
    record = IdempotencyRecord.objects.get()
    assert secret.encode() not in bytes(record.answer)
    assert "order-1" not in record.scope


@pytest.mark.parametrize("value", ["", "a b", "x" * 256, "ä"])
def test_a_key_that_cannot_be_one_is_named(api, value):
    answer = api.post("/api-keys", KEY, **{"Idempotency-Key": value})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


@pytest.mark.django_db(transaction=True)
def test_duplicates_at_the_same_time_make_one(transactional_db, redis_url):
    world.make_model("small", 8192)
    world.make_cluster()
    secret = world.make_tenant("northwind").secrets["admin"]

    def call(index):
        try:
            path, body = (("/deployments", BODY), ("/api-keys", KEY))[index % 2]
            return Api(secret).post(path, body, **ONCE)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(call, range(16)))
    assert [answer.status_code for answer in answers] == [201] * 16
    assert len({answer.json()["id"] for answer in answers}) == 2
    assert (Deployment.objects.count(), ApiKey.objects.filter(name="ci").count()) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_the_same_creation_at_the_same_time_without_a_key_makes_one(transactional_db, redis_url):
    world.make_model("small", 8192)
    world.make_cluster()
    secret = world.make_tenant("northwind").secrets["admin"]

    def call(_):
        try:
            return Api(secret).post("/deployments", BODY).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(call, range(8))) == [200] * 7 + [201]


def test_old_records_are_deleted_in_batches(api, monkeypatch):
    for number in range(5):
        api.post("/deployments", BODY | {"name": f"d{number}"}, **{"Idempotency-Key": f"key-{number}"})
    now = timezone.now()
    assert IdempotencyRecord.objects.count() == 5
    monkeypatch.setattr(idempotency, "BATCH_SIZE", 2)
    assert idempotency.delete_old_records(now) == 0
    assert idempotency.delete_old_records(now + timedelta(days=1)) == 5
    assert IdempotencyRecord.objects.count() == 0
