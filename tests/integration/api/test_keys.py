"""API keys by API: the secret once, bounds that hold, revocation."""

from datetime import UTC, datetime

import pytest

from accounts.models import ApiKey
from tests.integration.api.world import BODY, Api

pytestmark = pytest.mark.django_db
KEY = {"name": "ci", "scopes": ["inference", "read"]}


def fields(answer):
    return {error["field"]: error["code"] for error in answer.json()["errors"]}


def test_a_new_key_works_and_its_secret_is_never_shown_again(api):
    answer = api.post("/api-keys", KEY)
    assert answer.status_code == 201
    shown = answer.json()
    secret = shown.pop("secret")
    assert secret.startswith(shown["prefix"])
    assert Api(secret).get("/deployments").status_code == 200
    listed = api.get("/api-keys")
    assert secret not in listed.content.decode()
    row = next(row for row in listed.json()["data"] if row["id"] == shown["id"])
    assert row.pop("last_used_at").endswith("Z")
    assert row == {name: value for name, value in shown.items() if name != "last_used_at"}
    assert (row["organization"], row["user"]) == ("northwind", "admin@northwind.example.com")
    assert (row["scopes"], row["deployments"], row["expires_at"]) == (["inference", "read"], None, None)


def test_a_key_may_be_bound_to_deployments_and_to_a_time(api, deployed):
    other = api.post("/deployments", BODY | {"name": "other"}).json()
    wish = KEY | {"deployments": ["chat", other["id"], "chat"], "expires_at": "2030-01-02T03:04:05.5+02:00"}
    shown = api.post("/api-keys", wish).json()
    assert shown["deployments"] == [deployed["id"], other["id"]]
    assert shown["expires_at"] == "2030-01-02T01:04:05.500000Z"
    assert ApiKey.objects.get(pk=shown["id"]).expires_at == datetime(2030, 1, 2, 1, 4, 5, 500000, UTC)


def test_a_deployment_of_others_cannot_be_named(api, contoso):
    theirs = Api(contoso.secrets["admin"]).post("/deployments", BODY | {"name": "theirs"}).json()
    answer = api.post("/api-keys", KEY | {"deployments": ["theirs", theirs["id"]]})
    assert answer.status_code == 404
    assert fields(answer) == {"deployments.0": "unknown_deployment", "deployments.1": "unknown_deployment"}


def test_a_time_that_has_passed_makes_a_key_that_never_works(api):
    secret = api.post("/api-keys", KEY | {"expires_at": "2020-01-01T00:00:00Z"}).json()["secret"]
    assert Api(secret).get("/deployments").status_code == 401


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({"name": ""}, {"name": "required"}),
        ({"name": "n" * 121}, {"name": "too_long"}),
        ({"name": None}, {"name": "wrong_type"}),
        ({"scopes": []}, {"scopes": "required"}),
        ({"scopes": None}, {"scopes": "required"}),
        ({"scopes": ["admin"]}, {"scopes.0": "unknown_value"}),
        ({"scopes": "read"}, {"scopes": "wrong_type"}),
        ({"scopes": [1]}, {"scopes.0": "wrong_type"}),
        ({"expires_at": "tomorrow"}, {"expires_at": "invalid_time"}),
        ({"expires_at": "2027-02-30T00:00:00Z"}, {"expires_at": "invalid_time"}),
        ({"expires_at": "2027-01-01"}, {"expires_at": "invalid_time"}),
        ({"expires_at": 5}, {"expires_at": "wrong_type"}),
        ({"deployments": "chat"}, {"deployments": "wrong_type"}),
        ({"user": "else"}, {"user": "unknown_field"}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_input_is_named_field_by_field(api, changes, errors):
    answer = api.post("/api-keys", KEY | changes)
    assert (answer.status_code, fields(answer)) == (422, errors)


def test_members_see_and_revoke_their_own_keys_only(northwind, contoso, api):
    member = Api(northwind.secrets["member"])
    assert [row["id"] for row in member.get("/api-keys").json()["data"]] == [northwind.key_ids["member"]]
    for key_id in (northwind.key_ids["owner"], contoso.key_ids["owner"], "nothing"):
        assert member.delete(f"/api-keys/{key_id}").status_code == 404
    assert {row["id"] for row in api.get("/api-keys").json()["data"]} == set(northwind.key_ids.values())


def test_revocation_works_at_once_and_twice_is_once(api, northwind):
    key_id = northwind.key_ids["member"]
    for _ in range(2):
        answer = api.delete(f"/api-keys/{key_id}")
        assert (answer.status_code, answer.content) == (204, b"")
    assert Api(northwind.secrets["member"]).get("/models").status_code == 401
    row = next(row for row in api.get("/api-keys").json()["data"] if row["id"] == key_id)
    assert row["revoked_at"].endswith("Z")


def test_an_operator_makes_keys_in_the_organization_that_the_address_names(northwind, operator):
    made = Api(operator[1]).post("/api-keys?organization=northwind", KEY).json()
    assert (made["organization"], made["user"]) == ("northwind", "operator@example.com")
