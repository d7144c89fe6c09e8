"""Whatever goes wrong is a problem document with a request id: who calls, how, and with what."""

from datetime import timedelta

import pytest
from django.test import Client, override_settings
from django.urls import path
from django.utils import timezone

from accounts import services as accounts
from accounts.roles import Role
from console import urls
from console.api import deployments
from console.api.problems import CONTENT_TYPE, KINDS
from tests.integration.api import world
from tests.integration.api.world import BODY, OPERATIONS, Api

pytestmark = pytest.mark.django_db


def is_problem(answer, status, kind):
    document = answer.json()
    assert answer.status_code == status
    assert answer["Content-Type"] == CONTENT_TYPE
    assert document["status"] == status
    assert document["type"] == f"/api/v1/docs#{kind}"
    assert document["title"] == KINDS[kind].title
    assert document["detail"]
    assert document["request_id"] == answer["x-request-id"]
    return True


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_no_operation_works_without_a_usable_key(northwind, operation):
    for header in (None, "", "Bearer", "Basic abc", "Bearer mc_wrong", f"Bearer {'mc_' + 'a' * 36}"):
        answer = Api(None)(operation.method, operation.address, **({"Authorization": header} if header else {}))
        assert is_problem(answer, 401, "unauthenticated")
        assert answer["WWW-Authenticate"].startswith('Bearer realm="Models Console"')


def test_expired_and_revoked_keys_and_those_of_former_members_are_refused(northwind):
    organization, user = northwind.organization, northwind.people["admin"]
    now = timezone.now()
    _, expired = world.make_key(organization, user, "manage", expires_at=now - timedelta(seconds=1))
    key, revoked = world.make_key(organization, user, "manage")
    accounts.revoke_key(key, now)
    for secret in (expired, revoked):
        assert is_problem(Api(secret).get("/deployments"), 401, "unauthenticated")
    former = Api(northwind.secrets["member"])
    assert former.get("/deployments").status_code == 200
    accounts.remove_member(organization=organization, user=northwind.people["member"], now=now)
    assert is_problem(former.get("/deployments"), 401, "unauthenticated")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
@pytest.mark.parametrize("scope", ["inference", "read", "manage"])
def test_a_key_reaches_what_its_scope_allows(northwind, scope, operation):
    """`manage` reaches all, `read` what is a GET, `inference` nothing here."""
    _, secret = world.make_key(northwind.organization, northwind.people["admin"], scope)
    answer = Api(secret)(operation.method, operation.address)
    if scope == "manage" or (scope == "read" and operation.method == "GET"):
        assert answer.status_code not in (401, 403)
    else:
        assert is_problem(answer, 403, "scope-missing")


WRITES = {
    "create_deployment": {Role.ADMIN, Role.OWNER},
    "delete_deployment": {Role.ADMIN, Role.OWNER},
    "terminate_deployment": {Role.ADMIN, Role.OWNER},
    "edit_deployment": {Role.ADMIN, Role.OWNER},
    "redeploy_deployment": {Role.ADMIN, Role.OWNER},
    "retry_deployment": {Role.ADMIN, Role.OWNER},
    "roll_back_deployment": {Role.ADMIN, Role.OWNER},
    "create_api_key": {Role.MEMBER, Role.ADMIN, Role.OWNER},
}


@pytest.mark.parametrize(
    "operation", [one for one in OPERATIONS if one.id in WRITES], ids=lambda operation: operation.id
)
@pytest.mark.parametrize("role", list(Role))
def test_a_key_may_do_what_the_role_of_its_user_allows(northwind, deployed, role, operation):
    body = {} if operation.has_body else None
    answer = Api(northwind.secrets[role])(operation.method, operation.address, body)
    if role in WRITES[operation.id]:
        assert answer.status_code in (200, 202, 409, 422)
    else:
        assert is_problem(answer, 403, "right-missing")


def test_a_changed_role_counts_from_the_next_call(northwind, deployed):
    former = Api(northwind.secrets["admin"])
    accounts.set_role(organization=northwind.organization, user=northwind.people["admin"], role=Role.VIEWER)
    assert is_problem(former.post("/deployments/chat/terminate"), 403, "right-missing")


@pytest.mark.parametrize("route", ["", "/", "/nothing", "/deployments/", "/deployments/chat/nothing", "/docs/x"])
def test_an_unknown_route_is_a_problem_too(api, route):
    assert is_problem(api.get(f"/api/v1{route}"), 404, "not-found")


@pytest.mark.parametrize("name", ["nothing", "%00", "0" * 32, "00000000-0000-0000-0000-000000000000", "ä"])
@pytest.mark.parametrize("rest", ["", "/replicas", "/events", "/revisions"])
def test_what_does_not_exist_is_not_found(api, name, rest):
    assert is_problem(api.get(f"/deployments/{name}{rest}"), 404, "not-found")


@pytest.mark.parametrize(
    ("route", "allowed"),
    [
        ("/deployments", "GET, HEAD, OPTIONS, POST"),
        ("/deployments/chat", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("/deployments/chat/terminate", "OPTIONS, POST"),
        ("/deployments/chat/revisions", "GET, HEAD, OPTIONS"),
        ("/openapi.json", "GET, HEAD"),
    ],
)
def test_other_methods_are_refused_with_those_that_work(api, route, allowed):
    answer = api("PUT", route, {})
    assert is_problem(answer, 405, "method-not-allowed")
    assert answer["Allow"] == allowed


def test_every_write_is_in_the_table_of_roles():
    assert {one.id for one in OPERATIONS if one.method != "GET"} == {
        *WRITES,
        "revoke_api_key",
        "declare_replica_gone",
        "edit_organization",
    }


def test_options_and_head_say_what_get_would(api, deployed):
    assert api("OPTIONS", "/deployments").status_code == 204
    assert (api("HEAD", "/deployments/chat").status_code, api("HEAD", "/deployments/x").status_code) == (200, 404)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        '{"name": NaN}',
        "[" * 100_000,
        b"\xff",
        '{"a": ' + "1" * 5000 + "}",
        "{}x",
        '{"x": ' + "[" * 80 + "]" * 80 + "}",
        '{"a": ' * 900 + "1" + "}" * 900,
        '{"name": "a", "name": "b"}',
    ],
    ids=[
        "empty",
        "cut",
        "NaN",
        "deep",
        "not UTF-8",
        "endless number",
        "trailing",
        "deep list",
        "deep object",
        "a field twice",
    ],
)
@pytest.mark.parametrize("route", ["/deployments", "/api-keys"])
def test_malformed_json_says_where(api, route, body):
    answer = api("POST", route, body)
    assert is_problem(answer, 400, "malformed")


@pytest.mark.parametrize("route", ["/deployments", "/api-keys", "/deployments/chat/rollback"])
def test_a_body_of_another_type_or_size_is_refused(api, route):
    for content_type in ("application/x-www-form-urlencoded", "application/merge-patch+json", "text/plain", ""):
        form = api("POST", route, "name=chat", content_type=content_type)
        assert is_problem(form, 415, "unsupported-media-type")
    for size in (2**20, 2**22):
        assert is_problem(api("POST", route, " " * size + "{}"), 413, "too-large")


@pytest.mark.parametrize("route", ["/deployments/chat/rollback", "/deployments/chat/terminate"])
@pytest.mark.parametrize("body", ["[]", "null", "1", '"text"', "true"])
def test_an_action_takes_an_object_or_nothing(api, deployed, route, body):
    answer = api("POST", route, body)
    assert is_problem(answer, 422, "invalid-input")
    assert [(error["field"], error["code"]) for error in answer.json()["errors"]] == [("", "wrong_type")]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        ("true", "wrong_type"),
        ('"1"', "wrong_type"),
        ("1.5", "wrong_type"),
        ("1e999", "wrong_type"),
        ("0", "below_minimum"),
        ("2147483648", "above_maximum"),
    ],
)
def test_only_a_whole_number_is_one(api, deployed, number, code):
    answer = api("POST", "/deployments/chat/rollback", '{"revision": ' + number + "}")
    assert is_problem(answer, 422, "invalid-input")
    assert [error["code"] for error in answer.json()["errors"]] == [code]


def test_a_whole_number_may_have_a_fraction_of_zero(api, deployed):
    assert is_problem(api("POST", "/deployments/chat/rollback", '{"revision": 1.0}'), 409, "not-now")


def test_a_charset_beside_the_media_type_is_fine(api):
    answer = api("POST", "/deployments", BODY, content_type="application/json; charset=utf-8")
    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=%205", "limit"),
        ("limit=%2B5", "limit"),
        ("limit=5_0", "limit"),
        ("limit=5.0", "limit"),
        ("limit=1&limit=2", "limit"),
        ("cursor=abc", "cursor"),
        ("cursor=", "cursor"),
        ("status=BROKEN", "status"),
        ("q=%00", "q"),
        ("organization=a/b", "organization"),
    ],
)
def test_bad_parameters_are_named(api, query, field):
    answer = api.get(f"/deployments?{query}")
    assert is_problem(answer, 422, "invalid-input")
    assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_unknown_and_repeated_parameters_are_refused_and_nothing_is_done(api, deployed, operation):
    body = {} if operation.has_body and operation.id != "create_api_key" else None
    if operation.id == "create_api_key":
        body = {"name": "ci", "scopes": ["read"]}
    query = "utm_source=x&organization=northwind&organization=northwind"
    answer = api(operation.method, f"{operation.address}?{query}", body)
    assert is_problem(answer, 422, "invalid-input")
    assert [(error["field"], error["code"]) for error in answer.json()["errors"]] == [
        ("utm_source", "unknown_parameter"),
        ("organization", "invalid_parameter"),
    ]
    assert api.get("/deployments/chat").json() == deployed


def test_another_organization_cannot_be_chosen(api, contoso):
    for slug in ("contoso", "nobody"):
        assert is_problem(api.get(f"/deployments?organization={slug}"), 404, "not-found")
    assert api.get("/deployments?organization=northwind").status_code == 200


def fail(*args, **values):
    raise RuntimeError("secret detail")


class WithFailure:
    urlpatterns = [path("api/v1/failure", fail), *urls.urlpatterns]


@pytest.mark.parametrize("debug", [False, True])
def test_an_error_of_ours_shows_nothing_of_its_cause(settings, debug):
    with override_settings(ROOT_URLCONF=WithFailure, DEBUG=debug):
        answer = Client(raise_request_exception=False).get("/api/v1/failure")
    assert is_problem(answer, 500, "internal")
    assert b"secret detail" not in answer.content


@pytest.mark.parametrize("debug", [False, True])
def test_an_error_in_an_operation_shows_nothing_of_its_cause(api, deployed, monkeypatch, debug):
    monkeypatch.setattr(deployments.services, "terminate", fail)
    with override_settings(DEBUG=debug):
        for headers in ({}, {"Idempotency-Key": "k1"}):
            answer = api.post("/deployments/chat/terminate", **headers)
            assert is_problem(answer, 500, "internal")
            assert b"secret detail" not in answer.content


def test_a_refused_host_is_a_problem_too():
    assert is_problem(Client().get("/api/v1/deployments", headers={"host": "evil.example"}), 400, "refused")


def test_every_answer_has_a_request_id(api, deployed):
    for answer in (api.get("/deployments"), api.post("/deployments", BODY), api.get("/x"), Api(None).get("/models")):
        assert answer["x-request-id"].startswith("req_")
