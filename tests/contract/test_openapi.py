"""The OpenAPI document is true: schemathesis sends what it allows and what it forbids, one request after another and
in chains, with all of its checks and their defaults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core.servers.basehttp import WSGIRequestHandler
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events

from tests.integration.api import world

pytestmark = pytest.mark.django_db(transaction=True)
EXAMPLES = 10
# They answer 409 until something has ended, failed (for which there is no reconciler here) or was edited before.
NEED_WHAT_CAME_BEFORE = {
    "DELETE /deployments/{id}",
    "POST /deployments/{id}/replicas/{replica}/declare-gone",
    "POST /deployments/{id}/redeploy",
    "POST /deployments/{id}/retry",
    "POST /deployments/{id}/rollback",
}

OPERATORS_ONLY = {"PATCH /organizations/{id}"}


@pytest.fixture(autouse=True)
def prompt_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test server sends the head of an answer in parts. Each would wait about 40 ms, until the client confirms the
    part before: longer than all else that a request costs."""
    monkeypatch.setattr(WSGIRequestHandler, "disable_nagle_algorithm", True)


@pytest.fixture
def secret(transactional_db: None, redis_url: str) -> str:
    """The key of an admin, in an organization with two models and one endpoint to choose from."""
    world.make_model("small", 8192)
    world.make_model("wide", 32768)
    world.make_cluster(world.GPUS[:1])
    return world.make_tenant("northwind").secrets["admin"]


# What may be chosen now, and whether it goes with what is in force, is nothing that a schema says.
REFUSED_BY_WHAT_EXISTS = {
    "include-method": ["POST", "PATCH"],
    "checks": {
        "positive_data_acceptance": {"expected-statuses": ["2xx", "401", "403", "404", "409", "422"]},
        # 412 among them: an ETag out of the air is refused before the values of the body are looked at.
        "negative_data_rejection": {
            "expected-statuses": ["400", "401", "403", "404", "405", "406", "409", "412", "415", "422", "428", "429"]
        },
    },
}


def load(server: str, secret: str, operations: list[dict[str, Any]], **settings: Any) -> Any:
    """The document at `server`; `operations`: the settings of some, which may leave them out."""
    found = {
        "seed": 20261121,
        "headers": {"Authorization": f"Bearer {secret}"},
        "generation": {"max-examples": EXAMPLES, "database": "none"},
        "operations": [*operations, REFUSED_BY_WHAT_EXISTS],
        **settings,
    }
    return schemathesis.openapi.from_url(f"{server}/api/v1/openapi.json", config=SchemathesisConfig.from_dict(found))


@pytest.fixture
def valid_requests_that_may_succeed() -> Iterator[None]:
    """One Idempotency-Key for many bodies is a conflict, an ETag out of the air a failed precondition, and a model out
    of the air is unknown: each would keep valid requests from what they ask for."""

    def before_call(context: Any, case: Any, _: Any) -> None:
        if not (case.meta and case.meta.generation.mode.is_positive):
            return
        for header in ("Idempotency-Key", "If-Match"):
            (case.headers or {}).pop(header, None)
        if isinstance(case.body, dict) and "deployments" in case.operation.path:
            choose_what_exists(case.body)

    schemathesis.hook(before_call)
    yield
    schemathesis.hooks.unregister(before_call)


def choose_what_exists(body: dict[str, Any]) -> None:
    """In place, as far as the body says anything about it."""
    if isinstance(model := body.get("model"), dict) and "id" in model:
        model["id"] = "small" if len(model["id"]) % 2 else "wide"
    if isinstance(gpu := body.get("gpu"), dict):
        gpu |= {name: value for name, value in (("type", "l40s-48gb"), ("count", 1)) if gpu.get(name)}
    if isinstance(engine := body.get("engine"), dict):
        engine |= {"name": "simulator"} if engine.get("name") else {}
        engine |= {"context_length": 256 + engine["context_length"] % 4096} if engine.get("context_length") else {}
    if "endpoint" in body:
        body["endpoint"] = "default"


def findings(schema: Any, answers: Counter[tuple[str, int]]) -> Iterator[str]:
    """What schemathesis finds, with the request; counts the answers by operation and status."""
    for event in schemathesis.engine.from_schema(schema).execute():
        match event:
            case events.ScenarioFinished():
                for interaction in event.recorder.interactions.values():
                    if interaction.response and interaction.request.method != "OPTIONS":
                        answers[event.recorder.label, interaction.response.status_code] += 1
                yield from failures(event.recorder)
            case events.NonFatalError() | events.FatalError():
                yield str(event)


def failures(recorder: Any) -> Iterator[str]:
    for check in (check for checks in recorder.checks.values() for check in checks):
        if check.status is Status.FAILURE:
            yield f"{recorder.label}: {check.failure_info.failure.message}\n{check.failure_info.code_sample}"


PATCH = "PATCH /deployments/{id}"  # takes as long as all others together: its body is the largest
SETTLED = {"organization": "northwind", "follow": "false"}  # a stream does not end


# Classes, so that workers share them out.


@pytest.mark.usefixtures("valid_requests_that_may_succeed")
class TestSchemathesisFindsNothing:
    def test_about_all_but_the_values_of_a_patch(self, live_server, secret):
        """Without the one operation that could revoke the key in use."""
        schema = load(
            live_server.url,
            secret,
            [
                {"include-path": "/api-keys/{id}", "enabled": False},
                {"include-name": PATCH, "phases": {"coverage": {"enabled": False}}},
            ],
            parameters=SETTLED,
        )
        answers: Counter[tuple[str, int]] = Counter()
        assert list(findings(schema, answers)) == []
        reached = {label for label, status in answers if status < 300}
        unreached = {f"{one.method} {one.path}" for one in world.OPERATIONS} - reached
        assert unreached <= {*NEED_WHAT_CAME_BEFORE, *OPERATORS_ONLY, "DELETE /api-keys/{id}"}


@pytest.mark.usefixtures("valid_requests_that_may_succeed")
class TestSchemathesisFindsNothingInDetail:
    def test_about_the_values_of_a_patch(self, live_server, secret):
        schema = load(
            live_server.url,
            secret,
            [{"exclude-name": PATCH, "enabled": False}],
            parameters=SETTLED,
            phases={"stateful": {"enabled": False}, "fuzzing": {"enabled": False}},
        )
        answers: Counter[tuple[str, int]] = Counter()
        assert list(findings(schema, answers)) == []
        assert answers.keys() >= {(PATCH, 422)}

    def test_about_api_keys(self, live_server, secret):
        schema = load(live_server.url, secret, [{"exclude-path-regex": "^/api-keys", "enabled": False}])
        assert list(findings(schema, Counter())) == []

    def test_about_what_operators_change(self, live_server, secret):
        platform = world.accounts.create_organization(slug="platform", name="Platform")
        user = world.make_user("operator@example.com", is_operator=True)
        key = world.make_key(platform, user, "manage")[1]
        only = [{"exclude-path-regex": "^/organizations/.id", "enabled": False}]
        schema = load(live_server.url, key, only, parameters={"id": "northwind"})
        answers: Counter[tuple[str, int]] = Counter()
        assert list(findings(schema, answers)) == []
        assert {label for label, status in answers if status < 300} == OPERATORS_ONLY
