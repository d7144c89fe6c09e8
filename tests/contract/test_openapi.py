"""The OpenAPI document is true: schemathesis sends what it allows and what it forbids, one request after another and
in chains, with all of its checks and their defaults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events

from console.api.routes import OPERATIONS
from tests.integration.api import world

pytestmark = pytest.mark.django_db(transaction=True)
EXAMPLES = 10
# They answer 409 until something has ended, failed (for which there is no reconciler here) or was edited before.
NEED_WHAT_CAME_BEFORE = {
    "DELETE /deployments/{id}",
    "POST /deployments/{id}/redeploy",
    "POST /deployments/{id}/retry",
    "POST /deployments/{id}/rollback",
}


@pytest.fixture
def secret(transactional_db: None, redis_url: str) -> str:
    """The key of an admin, in an organization with two models and one endpoint to choose from."""
    world.make_model("small", 8192)
    world.make_model("wide", 32768)
    world.make_cluster(world.GPUS[:1])
    return world.make_tenant("northwind").secrets["admin"]


# Whether a patch goes with what is in force (a minimum below the maximum, …) is nothing that a schema can say.
DEPENDS_ON_WHAT_IS_IN_FORCE = {
    "include-name": "PATCH /deployments/{id}",
    "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "401", "403", "404", "409", "422"]}},
}


def load(server: str, secret: str, without: dict[str, str], **settings: Any) -> Any:
    """The document at `server`; `without` says which operations are left out."""
    found = {
        "seed": 20261121,
        "headers": {"Authorization": f"Bearer {secret}"},
        "generation": {"max-examples": EXAMPLES, "database": "none"},
        "operations": [{**without, "enabled": False}, DEPENDS_ON_WHAT_IS_IN_FORCE],
        **settings,
    }
    return schemathesis.openapi.from_url(f"{server}/api/v1/openapi.json", config=SchemathesisConfig.from_dict(found))


@pytest.fixture
def valid_requests_without_idempotency_key() -> Iterator[None]:
    """One key for many bodies is a conflict, which would keep valid requests from what they ask for."""

    def before_call(context: Any, case: Any, _: Any) -> None:
        if case.meta and case.meta.generation.mode.is_positive and case.headers:
            case.headers.pop("Idempotency-Key", None)

    schemathesis.hook(before_call)
    yield
    schemathesis.hooks.unregister(before_call)


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


@pytest.mark.usefixtures("valid_requests_without_idempotency_key")
def test_schemathesis_finds_nothing(live_server, secret):
    """Without the one operation that could revoke the key in use; the next test has it."""
    settled = {"organization": "northwind", "follow": "false"}  # a stream does not end
    schema = load(live_server.url, secret, {"include-path": "/api-keys/{id}"}, parameters=settled)
    answers: Counter[tuple[str, int]] = Counter()
    assert list(findings(schema, answers)) == []
    reached = {label for label, status in answers if status < 300}
    unreached = {f"{operation.method} {operation.path}" for operation in OPERATIONS} - reached
    assert unreached <= {*NEED_WHAT_CAME_BEFORE, "DELETE /api-keys/{id}"}


def test_schemathesis_finds_nothing_about_api_keys(live_server, secret):
    schema = load(live_server.url, secret, {"exclude-path-regex": "^/api-keys"})
    assert list(findings(schema, Counter())) == []
