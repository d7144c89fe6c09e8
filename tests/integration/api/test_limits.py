"""Limits of requests and tokens per minute: who sets them, where they are shown, what has been used of them."""

import struct
import time

import pytest

from accounts.models import ApiKey, Organization
from accounts.redis_client import redis_client
from deployments.models import Deployment, DeploymentEvent
from gateway import contract
from tests.integration.api.world import BODY, Api

pytestmark = pytest.mark.django_db(transaction=True)
NONE = {"requests_per_minute": None, "tokens_per_minute": None}
NO_LIMITS = {"organization": NONE, "user": NONE, "api_key": NONE}


def patch(api, body, address="/deployments/chat"):
    return api("PATCH", address, body)


def published_route():
    (text,) = redis_client().hvals(contract.ROUTES)
    return contract.RouteRecord.from_json(text)


def published_key(key_id):
    records = [contract.KeyRecord.from_json(text) for text in redis_client().hvals(contract.KEYS)]
    return next(record for record in records if record.key_id == str(key_id))


def test_there_are_no_limits_until_somebody_sets_them(api, deployed):
    assert deployed["limits"] == NO_LIMITS
    assert published_route().limits == {}
    assert api.get("/deployments/chat/limits").json() == {"data": []}


def test_a_tenant_creates_a_deployment_with_limits(api):
    limits = {"user": {"tokens_per_minute": 5000}, "api_key": {}}
    answer = api.post("/deployments", BODY | {"limits": limits})
    assert answer.status_code == 201
    assert answer.json()["limits"] == NO_LIMITS | {"user": NONE | {"tokens_per_minute": 5000}}
    assert published_route().limits == {"user": {"tokens_per_minute": 5000}}


def test_a_change_of_limits_acts_at_once_and_replaces_no_replica(api, deployed):
    shown = patch(api, {"limits": {"organization": {"requests_per_minute": 60.0, "tokens_per_minute": 9}}}).json()
    assert shown["limits"]["organization"] == {"requests_per_minute": 60, "tokens_per_minute": 9}
    assert shown["revision"] == 1
    assert published_route().limits == {"organization": {"requests_per_minute": 60, "tokens_per_minute": 9}}
    event = DeploymentEvent.objects.order_by("-id")[0]
    assert {change["field"] for change in event.facts["changes"]} == {
        "limits.organization.requests_per_minute",
        "limits.organization.tokens_per_minute",
    }
    shown = patch(api, {"limits": {"organization": {"tokens_per_minute": None}}}).json()
    assert shown["limits"]["organization"] == {"requests_per_minute": 60, "tokens_per_minute": None}
    assert patch(api, {"limits": None}).json()["limits"] == NO_LIMITS
    assert published_route().limits == {}


@pytest.mark.parametrize(
    ("limits", "field", "code"),
    [
        ({"user": {"tokens_per_minute": 0}}, "limits.user.tokens_per_minute", "below_minimum"),
        ({"user": {"tokens_per_minute": 1.5}}, "limits.user.tokens_per_minute", "wrong_type"),
        ({"user": {"tokens_per_minute": "9"}}, "limits.user.tokens_per_minute", "wrong_type"),
        ({"user": {"tokens_per_minute": True}}, "limits.user.tokens_per_minute", "wrong_type"),
        ({"api_key": {"requests_per_minute": 10**13}}, "limits.api_key.requests_per_minute", "above_maximum"),
        ({"team": {"tokens_per_minute": 5}}, "limits.team", "unknown_field"),
        ({"user": {"tokens_per_second": 5}}, "limits.user.tokens_per_second", "unknown_field"),
        ({"user": 5}, "limits.user", "wrong_type"),
        (5, "limits", "wrong_type"),
    ],
)
def test_wrong_limits_are_refused_at_their_field(api, deployed, operator, limits, field, code):
    organization = f"/organizations/{Organization.objects.get(slug='northwind').pk}"
    for answer in (
        patch(api, {"limits": limits}),
        api.post("/deployments", BODY | {"name": "other", "limits": limits}),
        patch(Api(operator[1]), {"limits": limits}, organization),
    ):
        assert answer.status_code == 422
        assert [(error["field"], error["code"]) for error in answer.json()["errors"]] == [(field, code)]


def test_only_roles_that_may_deploy_change_limits(northwind, deployed):
    for role, status in (("viewer", 403), ("member", 403), ("admin", 200), ("owner", 200)):
        answer = patch(Api(northwind.secrets[role]), {"limits": {"user": {"requests_per_minute": 5}}})
        assert answer.status_code == status, role


def test_an_operator_limits_an_organization_across_all_deployments(api, northwind, operator):
    key = ApiKey.objects.get(pk=northwind.key_ids["admin"])
    for address in ("/organizations/northwind", f"/organizations/{northwind.organization.pk}"):
        shown = patch(Api(operator[1]), {"limits": {"organization": {"tokens_per_minute": 70}}}, address).json()
        assert shown["limits"] == NO_LIMITS | {"organization": NONE | {"tokens_per_minute": 70}}
    assert api.get("/organizations/current").json()["limits"] == shown["limits"]
    assert published_key(key.pk).limits == {"organization": {"tokens_per_minute": 70}}
    assert patch(Api(operator[1]), {"limits": None}, "/organizations/northwind").json()["limits"] == NO_LIMITS
    assert published_key(key.pk).limits == {}


def test_a_tenant_does_not_set_limits_of_an_organization(northwind, contoso):
    for role in northwind.secrets:
        answer = patch(Api(northwind.secrets[role]), {"limits": {"user": {}}}, "/organizations/northwind")
        assert answer.status_code == 403
        assert [error["field"] for error in answer.json()["errors"]] == ["limits"]
        answer = patch(Api(northwind.secrets[role]), {"limits": {"user": {}}}, "/organizations/contoso")
        assert answer.status_code == 404


def test_the_present_consumption_is_that_of_the_caller(api, deployed, northwind, operator):
    patch(api, {"limits": {"organization": {"requests_per_minute": 10}, "api_key": {"tokens_per_minute": 100}}})
    patch(Api(operator[1]), {"limits": {"user": {"tokens_per_minute": 500}}}, "/organizations/northwind")
    row, organization = Deployment.objects.get(), str(northwind.organization.pk)
    bucket = int(time.time() * 1000) // 250
    key, user = northwind.key_ids["admin"], northwind.people["admin"].pk
    for scope, level, subject, unit, used in (
        (str(row.pk), "organization", organization, "requests", 4),
        (str(row.pk), "api_key", key, "tokens", 120),
        (str(row.pk), "api_key", northwind.key_ids["owner"], "tokens", 99),
        (contract.ALL_DEPLOYMENTS, "user", str(user), "tokens", 33),
    ):
        name = contract.counter_key(scope, level, organization, str(subject), unit)
        redis_client().set(name, struct.pack("<dd", used, bucket))
    shown = api.get("/deployments/chat/limits").json()["data"]
    assert [(each["scope"], each["level"], each["unit"], each["limit"], each["used"]) for each in shown] == [
        ("deployment", "organization", "requests", 10, 4),
        ("deployment", "api_key", "tokens", 100, 120),
        ("all_deployments", "user", "tokens", 500, 33),
    ]
    assert [each["remaining"] for each in shown] == [6, 0, 467]
    assert all(50 < each["reset_seconds"] <= 60.25 for each in shown)
