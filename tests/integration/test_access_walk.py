"""Every address of the product, walked by the owner of another organization: what is not theirs does not exist (404),
and no list holds a name of it. An address that is in none of the tables below fails the walk: put it where it belongs.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import pytest
from allauth.usersessions.models import UserSession
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RoutePattern

from accounts.models import ApiKey
from console.live.routing import websocket_urlpatterns
from deployments.models import Deployment, DeploymentEvent
from deployments.states import ReplicaState
from tests.integration.api import world
from tests.integration.api.world import Api

pytestmark = pytest.mark.django_db(transaction=True)

# Addresses of one object: {placeholder: kinds of objects that it may name}.
OBJECTS = {
    "deployments/<uuid:deployment_id>/": {"deployment_id": ["deployment"]},
    "deployments/<uuid:deployment_id>/events/": {"deployment_id": ["deployment"]},
    "deployments/<uuid:deployment_id>/edit/": {"deployment_id": ["deployment"]},
    "deployments/<uuid:deployment_id>/edit/preview/": {"deployment_id": ["deployment"]},
    "deployments/<uuid:deployment_id>/clone/": {"deployment_id": ["deployment"]},
    "deployments/<uuid:deployment_id>/settings/": {"deployment_id": ["deployment"]},
    "deployments/<uuid:deployment_id>/revisions/<int:number>/rollback/": {
        "deployment_id": ["deployment"],
        "number": ["number"],
    },
    "deployments/<uuid:deployment_id>/retry/": {"deployment_id": ["deployment"]},
    "deployments/<uuid:deployment_id>/redeploy/": {"deployment_id": ["deployment"]},
    "deployments/<uuid:deployment_id>/terminate/": {"deployment_id": ["deployment"]},
    "deployments/<uuid:deployment_id>/delete/": {"deployment_id": ["deployment"]},
    "deployments/<uuid:deployment_id>/replicas/<uuid:replica_id>/declare-gone/": {
        "deployment_id": ["deployment", "own deployment"],
        "replica_id": ["replica"],
    },
    "deployments/<uuid:deployment_id>/playground/": {"deployment_id": ["deployment"]},
    "deployments/<uuid:deployment_id>/logs/": {"deployment_id": ["deployment"]},
    "deployments/<uuid:deployment_id>/logs/lines.json": {"deployment_id": ["deployment"]},
    "deployments/<uuid:deployment_id>/logs/stream/": {"deployment_id": ["deployment"]},
    "deployments/<uuid:deployment_id>/logs/<uuid:replica_id>/stream/": {
        "deployment_id": ["deployment", "own deployment"],
        "replica_id": ["replica"],
    },
    "settings/api-keys/<uuid:key_id>/revoke/": {"key_id": ["key"]},
    "settings/profile/sessions/<int:session_id>/end/": {"session_id": ["session"]},
    "api/v1/deployments/<str:id>": {"id": ["deployment", "name"]},
    "api/v1/deployments/<str:id>/terminate": {"id": ["deployment", "name"]},
    "api/v1/deployments/<str:id>/redeploy": {"id": ["deployment", "name"]},
    "api/v1/deployments/<str:id>/retry": {"id": ["deployment", "name"]},
    "api/v1/deployments/<str:id>/rollback": {"id": ["deployment", "name"]},
    "api/v1/deployments/<str:id>/revisions": {"id": ["deployment", "name"]},
    "api/v1/deployments/<str:id>/replicas": {"id": ["deployment", "name"]},
    "api/v1/deployments/<str:id>/limits": {"id": ["deployment", "name"]},
    "api/v1/deployments/<str:id>/replicas/<str:replica>/declare-gone": {
        "id": ["deployment", "name", "own deployment"],
        "replica": ["replica"],
    },
    "api/v1/deployments/<str:id>/events": {"id": ["deployment", "name"]},
    "api/v1/deployments/<str:id>/logs": {"id": ["deployment", "name"]},
    "api/v1/api-keys/<str:id>": {"id": ["key"]},
    "api/v1/organizations/<str:id>": {"id": ["organization id", "slug"]},
}
# Addresses that show what somebody may see; the value is how to ask.
LISTS = {
    "": "",
    "catalog/": "catalog/",
    "usage/": "usage/",
    "usage/<slug:period>/<slug:group_by>.csv": "usage/month/deployment.csv",
    "settings/api-keys/": "settings/api-keys/",
    "settings/profile/": "settings/profile/",
    "deployments/": "deployments/",
    "deployments/new/": "deployments/new/",
    "deployments/new/name/": "deployments/new/name/?name=x",
    "deployments/new/capacity/": "deployments/new/capacity/?name=x",
    "api/v1/deployments": "api/v1/deployments",
    "api/v1/models": "api/v1/models",
    "api/v1/models/<str:id>": "api/v1/models/small",
    "api/v1/gpu-types": "api/v1/gpu-types",
    "api/v1/endpoints": "api/v1/endpoints",
    "api/v1/api-keys": "api/v1/api-keys",
    "api/v1/usage": "api/v1/usage?group_by=api_key",
    "api/v1/organizations/current": "api/v1/organizations/current",
    "api/v1/openapi.json": "api/v1/openapi.json",
    "api/v1/docs": "api/v1/docs",
}
# Sockets; tests/integration/console/test_live.py has another organization's deployment refused, and never in the list.
SOCKETS = {"ws/deployments/", "ws/deployments/<uuid:deployment_id>/"}
# Addresses by prefix that know no object of an organization, and why.
LEFT_OUT = {
    "admin/": "Django admin: staff only, who see everything",
    "settings/profile/sessions/end-others/": "one's own sessions",
    "accounts/": "signing in and out, one's own password",
    "theme/": "a cookie",
    "favicon.ico": "an icon",
}


def routes(resolver: URLResolver | None = None, prefix: str = "") -> Iterator[str]:
    """Every route below `resolver`, written as in urls.py."""
    for one in (resolver or get_resolver()).url_patterns:
        address = prefix + (str(one.pattern) if isinstance(one.pattern, RoutePattern) else one.pattern.regex.pattern)
        if isinstance(one, URLPattern):
            yield address.replace("^", "")
        elif not any(address.startswith(left) for left in LEFT_OUT):
            yield from routes(one, address)


def all_routes() -> set[str]:
    pages = {route for route in routes() if not any(route.startswith(left) for left in LEFT_OUT)}
    return pages | {str(one.pattern) for one in websocket_urlpatterns}


def test_every_address_is_in_a_table():
    assert all_routes() == {*OBJECTS, *LISTS, *SOCKETS}


@pytest.fixture
def theirs(transactional_db, redis_url):
    """What Northwind has, by kind, and the words that nobody else may read."""
    world.make_model("small", 8192)
    world.make_cluster()
    northwind = world.make_tenant("northwind")
    found = Api(northwind.secrets["admin"]).post("/deployments", world.BODY | {"name": "hush"}).json()
    row = Deployment.objects.get(pk=found["id"])
    replica = world.make_replica(row, ReplicaState.READY, node="node-hush", ready_at=world.NOW)
    key = ApiKey.objects.get(pk=northwind.key_ids["member"])
    client = Client()
    client.force_login(northwind.people["owner"])
    session = UserSession.objects.create(
        user=northwind.people["owner"], ip="192.0.2.7", session_key=client.session.session_key
    )
    return {
        "organization": northwind,
        "organization id": str(northwind.organization.pk),
        "slug": "northwind",
        "deployment": str(row.pk),
        "name": "hush",
        "number": "1",
        "replica": str(replica.pk),
        "key": str(key.pk),
        "session": str(session.pk),
        "words": ["hush", "northwind", str(row.pk), str(replica.pk), str(key.pk), key.prefix],
    }


@pytest.fixture
def visitor(theirs):
    """The owner of Contoso: signed in at the pages, with a key of all scopes at the API."""
    contoso = world.make_tenant("contoso")
    client = Client()
    client.force_login(contoso.people["owner"])
    api = Api(contoso.secrets["owner"])
    theirs["own deployment"] = api.post("/deployments", world.BODY | {"name": "own"}).json()["id"]
    return client, api


def ask(visitor, method, address):
    client, api = visitor
    body = {} if method == "PATCH" else None
    return api(method, f"/{address}", body) if address.startswith("api/") else client.generic(method, f"/{address}")


def addresses(route, kinds, ids):
    for chosen in itertools.product(*kinds.values()):
        parts = dict(zip(kinds, chosen, strict=True))
        yield re.sub(r"<\w+:(\w+)>", lambda match: ids[parts[match[1]]], route)  # noqa: B023


def unchanged(theirs):
    row = Deployment.objects.get(pk=theirs["deployment"])
    key = ApiKey.objects.get(pk=theirs["key"])
    events = DeploymentEvent.objects.filter(deployment=row).count()
    has_session = UserSession.objects.get(pk=theirs["session"]).exists()
    return (row.terminate_requested_at, row.deleted_at, key.revoked_at, events, has_session) == (
        None, None, None, 1, True,
    )  # fmt: skip


@pytest.mark.parametrize("route", OBJECTS)
def test_an_object_of_others_does_not_exist(theirs, visitor, route):
    for address in addresses(route, OBJECTS[route], theirs):
        statuses = {method: ask(visitor, method, address).status_code for method in ("GET", "POST", "PATCH", "DELETE")}
        assert 404 in statuses.values(), address
        assert set(statuses.values()) <= {404, 405}, f"{address}: {statuses}"
    assert unchanged(theirs)


def test_an_own_object_does_exist(theirs, visitor):
    """The walk would be worth nothing if everything were a 404."""
    own = theirs | {"deployment": theirs["own deployment"], "name": "own"}
    for route, kinds in OBJECTS.items():
        if "deployment" in kinds.get("deployment_id", kinds.get("id", ())) and "replica_id" not in kinds:
            for address in addresses(route, kinds, own):
                assert ask(visitor, "GET", address).status_code in (200, 302, 405), address


@pytest.mark.parametrize("route", LISTS)
def test_no_list_holds_a_name_of_others(theirs, visitor, route):
    answer = ask(visitor, "GET", LISTS[route])
    assert answer.status_code in (200, 302)
    text = answer.content.decode().lower()
    assert [word for word in theirs["words"] if word.lower() in text] == []


def test_an_organization_of_others_cannot_be_deployed_into(theirs, visitor):
    client, api = visitor
    count = Deployment.objects.filter(organization=theirs["organization"].organization).count()
    form = {"organization": "northwind", "name": "intruder", "model": "small"}
    assert client.post("/deployments/new/", form).status_code in (200, 404, 422)
    assert api.post("/deployments?organization=northwind", world.BODY | {"name": "intruder"}).status_code == 404
    assert Deployment.objects.filter(organization=theirs["organization"].organization).count() == count
