"""The OpenAPI document and its readable page."""

import re
from html.parser import HTMLParser

import pytest
from django.test import Client

from console.api.problems import KINDS
from console.api.routes import OPERATIONS
from deployments.models import ClusterGpu

pytestmark = pytest.mark.django_db


def document():
    return Client().get("/api/v1/openapi.json").json()


def test_every_operation_is_described(cluster):
    found = document()
    described = {(method.upper(), path) for path, methods in found["paths"].items() for method in methods}
    assert described == {(one.method, one.path) for one in OPERATIONS}
    assert (found["openapi"], found["security"]) == ("3.1.0", [{"api_key": []}])
    for methods in found["paths"].values():
        for operation in methods.values():
            assert {"401", "403", "422"} <= set(operation["responses"])


def test_every_reference_leads_somewhere(cluster):
    found = document()
    names = set(re.findall(r"#/components/schemas/(\w+)", Client().get("/api/v1/openapi.json").content.decode()))
    assert names <= set(found["components"]["schemas"])


def test_the_body_of_a_deployment_names_what_may_be_chosen_now(cluster):
    variants = document()["components"]["schemas"]["DeploymentBody"]["anyOf"]
    by_model = {variant["properties"]["model"]["properties"]["id"]["enum"][0]: variant for variant in variants}
    assert set(by_model) == {"small", "wide"}
    assert by_model["wide"]["properties"]["engine"]["properties"]["context_length"]["maximum"] == 32768
    gpu = by_model["small"]["properties"]["gpu"]["anyOf"]
    assert gpu[0]["properties"]["type"]["enum"] == ["l40s-48gb"]
    assert gpu[0]["properties"]["count"]["maximum"] == 8


def test_the_schema_of_a_patch_has_what_may_change_and_not_what_never_does(cluster):
    found = document()["components"]["schemas"]["DeploymentPatch"]["properties"]
    assert set(found) == {"model", "description", "engine", "gpu", "adapters", "autoscaling", "labels"}
    assert set(found["gpu"]["properties"]) == {"count"}
    assert found["model"]["properties"]["id"]["enum"] == ["small", "wide"]
    assert found["engine"]["properties"]["context_length"]["maximum"] == 32768


def test_if_match_and_etag_are_described(cluster):
    edit = document()["paths"]["/deployments/{id}"]["patch"]
    assert "If-Match" in edit["description"]
    assert "ETag" in edit["responses"]["200"]["headers"]
    assert {"409", "412", "415", "422"} <= set(edit["responses"])
    assert set(edit["requestBody"]["content"]) == {"application/json", "application/merge-patch+json"}


def test_without_gpus_nothing_can_be_deployed(cluster):
    ClusterGpu.objects.all().delete()
    assert document()["components"]["schemas"]["DeploymentBody"]["not"] == {}


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


def test_the_readable_page_needs_no_key_and_nothing_from_elsewhere(cluster):
    answer = Client().get("/api/v1/docs")
    page = Page(answer.content.decode())
    assert answer.status_code == 200
    assert (page.headings, page.inline) == (1, [])
    assert "default-src 'none'" in answer["Content-Security-Policy"]
    assert not [link for link in page.links if "//" in link]
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert set(KINDS) | {one.id for one in OPERATIONS} <= set(page.ids)
