"""Model lookup: which route a model name means for an API key."""

import pytest

from gateway import model_lookup, openai_errors
from gateway.contract import KeyRecord, RouteRecord
from gateway.openai_errors import ErrorResponse


def build_key(**changes: object) -> KeyRecord:
    return KeyRecord(**{"key_id": "k", "organization_id": "o", "organization_slug": "acme", "user_id": "u",
                        "scopes": ["inference"], **changes})  # fmt: skip


def build_route(name: str, organization_id: str = "o", state: str = "open") -> RouteRecord:
    id_, adapters = f"id-{name}", ["law", "v1.0"]
    return RouteRecord(id_, organization_id, "acme", name, state, 1.0, 100, simulated=True, adapters=adapters)


ROUTES = {(route.organization_id, route.name): route for route in (build_route("chat"), build_route("theirs", "other"))}
MODELS = {
    "own name": ("chat", build_key(), None),
    "with the own slug": ("acme/chat", build_key(), None),
    "another slug": ("other/chat", build_key(), 404),
    "another organization's": ("theirs", build_key(), 404),
    "unknown": ("nope", build_key(), 404),
    "listed for the key": ("chat", build_key(deployments=["id-chat"]), None),
    "not listed for the key": ("chat", build_key(deployments=[]), 403),
    "adapter": ("chat:law", build_key(), None),
    "adapter with the own slug": ("acme/chat:v1.0", build_key(), None),
    "unknown adapter": ("chat:tax", build_key(), 404),
    "no adapter behind the colon": ("chat:", build_key(), 404),
    "adapter of an adapter": ("chat:law:law", build_key(), 404),
    "adapter of an unknown one": ("nope:law", build_key(), 404),
    "another organization's adapter": ("theirs:law", build_key(), 404),
    "adapter as a path": ("chat:../law", build_key(), 404),
    "path": ("../../etc/passwd", build_key(), 404),
    "URL": ("https://example.com/chat", build_key(), 404),
    "adapter, not listed for the key": ("chat:law", build_key(deployments=[]), 403),
    "unknown adapter, not listed for the key": ("chat:tax", build_key(deployments=[]), 404),
    "not visible is 404 even when listed": ("theirs", build_key(deployments=["id-theirs"]), 404),
}


@pytest.mark.parametrize(("model", "key", "status"), MODELS.values(), ids=MODELS.keys())
def test_which_deployment_a_model_name_means(model, key, status):
    route = model_lookup.find_route(model, key, ROUTES)
    assert (route.status if isinstance(route, ErrorResponse) else None) == status


def test_an_unknown_adapter_has_the_bytes_of_an_unknown_model():
    errors = [model_lookup.find_route("chat:tax", build_key(), routes) for routes in (ROUTES, {})]
    assert [error.body() for error in errors if isinstance(error, ErrorResponse)] == [
        openai_errors.model_not_found("chat:tax").body()
    ] * 2


def test_a_model_name_that_is_not_valid_unicode_gets_an_error():
    error = model_lookup.find_route("\ud800", build_key(), ROUTES)
    assert isinstance(error, ErrorResponse)
    assert b"`?`" in error.body()


def test_the_error_of_a_failed_deployment_must_not_be_retried():
    error = model_lookup.check_route_state(build_route("x", state="failed"))
    assert error
    assert (error.status, error.headers()["x-should-retry"]) == (503, "false")
    assert model_lookup.check_route_state(build_route("x")) is None
