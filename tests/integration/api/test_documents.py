"""The OpenAPI document and its readable page."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.test import Client, override_settings

from console.api.problems import KINDS
from console.api.reference_page import document_text
from tests.integration.api import world
from tests.integration.api.conformance import DOCUMENT
from tests.integration.api.world import OPERATIONS

COMMITTED = Path(__file__).resolve().parents[3] / "docs" / "openapi.json"
ALWAYS = {"401", "403", "404", "422", "500"}


def described():
    """(method, path) and the description of each operation."""
    return [(method, path, found) for path, methods in DOCUMENT["paths"].items() for method, found in methods.items()]


def test_the_committed_document_is_current():
    assert COMMITTED.read_text() == document_text(), "run: make docs"


@pytest.mark.django_db
def test_the_document_is_constant():
    """Whatever there is to choose, whatever is set, and whoever asks."""
    first = Client().get("/api/v1/openapi.json")
    world.make_model("small", 8192)
    world.make_cluster()
    with override_settings(SCALE_DOWN_DELAY_FLOOR_SECONDS=1):
        second = Client().get("/api/v1/openapi.json", headers={"host": "localhost:9"})
    assert first.content == second.content == COMMITTED.read_bytes()
    assert first["Content-Type"] == "application/json"
    assert DOCUMENT["openapi"] == "3.1.0"


def test_every_operation_says_its_scope_and_how_it_refuses():
    for method, path, operation in described():
        assert operation["security"] == [{"api_key": ["read" if method == "get" else "manage"]}], path
        assert set(operation["responses"]) >= ALWAYS
        assert operation["summary"]


def test_every_post_takes_an_idempotency_key_and_nothing_else_does():
    for method, path, operation in described():
        headers = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "header"}
        assert ("Idempotency-Key" in headers) == (method == "post"), path
        may_conflict = method in ("post", "patch") and path != "/organizations/{id}"
        assert ("409" in operation["responses"]) or not may_conflict, path


def test_every_answer_names_its_headers():
    for _, path, operation in described():
        for status, response in operation["responses"].items():
            assert "x-request-id" in response["headers"], (path, status)


def test_every_reference_leads_somewhere_and_every_schema_is_used():
    names = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(DOCUMENT)))
    assert names == set(DOCUMENT["components"]["schemas"])


def test_the_body_of_a_deployment_allows_what_the_api_accepts():
    properties = DOCUMENT["components"]["schemas"]["NewDeployment"]["properties"]
    assert set(properties) == {
        "name", "description", "endpoint", "model", "engine", "gpu", "adapters", "autoscaling", "limits", "labels",
    }  # fmt: skip
    ranged, fixed = (variant["properties"] for variant in properties["autoscaling"]["anyOf"])
    assert (ranged["max_replicas"]["minimum"], fixed["replicas"]["minimum"]) == (1, 1)
    assert properties["model"]["properties"]["id"]["type"] == "string"


def test_a_patch_may_take_back_what_has_a_default():
    properties = DOCUMENT["components"]["schemas"]["DeploymentPatch"]["properties"]
    gpu = properties["gpu"]["properties"]
    for schema in (properties["description"], properties["labels"], properties["autoscaling"], gpu["count"]):
        assert {"type": "null"} in schema["anyOf"]
    for schema in (properties["name"], properties["endpoint"], gpu["type"]):
        assert schema["type"] == "string"


def test_an_edit_takes_if_match_and_two_media_types_and_answers_with_an_etag():
    edit = DOCUMENT["paths"]["/deployments/{id}"]["patch"]
    assert "If-Match" in {parameter["name"] for parameter in edit["parameters"]}
    assert "ETag" in edit["responses"]["200"]["headers"]
    assert {"400", "409", "412", "413", "415"} <= set(edit["responses"])
    assert set(edit["requestBody"]["content"]) == {"application/json", "application/merge-patch+json"}


def test_streams_and_cursors_are_described():
    for path in ("/deployments/{id}/events", "/deployments/{id}/logs"):
        assert "text/event-stream" in DOCUMENT["paths"][path]["get"]["responses"]["200"]["content"]
    cursors = [
        parameter["schema"]
        for *_, found in described()
        for parameter in found["parameters"]
        if parameter["name"] == "cursor"
    ]
    assert len(cursors) >= 9
    assert all(cursor["pattern"].startswith("^") for cursor in cursors)


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.headings, self.inline = [], [], 0, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.headings += tag == "h1"
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if tag == "a" else []
        if tag == "style" or "style" in found or (tag == "script" and "src" not in found):
            self.inline.append(tag)


@pytest.mark.django_db
def test_the_readable_page_needs_no_key_and_nothing_from_elsewhere():
    answer = Client().get("/api/v1/docs")
    page = Page(answer.content.decode())
    assert answer.status_code == 200
    assert (page.headings, page.inline) == (1, [])
    assert "default-src 'none'" in answer["Content-Security-Policy"]
    assert not [link for link in page.links if "//" in link]
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert set(KINDS) | {operation.id for operation in OPERATIONS} <= set(page.ids)
    assert "autoscaling.max_replicas" in answer.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize("route", ["openapi-json", "docs/", "schema", ""])
def test_the_library_s_own_pages_are_not_there(route):
    assert Client().get(f"/api/v1/{route}").status_code == 404
