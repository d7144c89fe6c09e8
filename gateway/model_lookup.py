"""Resolves model names to deployments: which route a name means for an API key, or an error response. Pure.

A model name is `name` or `owner-slug/name` of a deployment in the key's organization, optionally followed by
`:adapter`. A deployment of another organization and an unknown adapter get the same bytes as a deployment that does not
exist (404). A deployment of the key's organization that the key does not cover is 403.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway import openai_errors
from gateway.contract import KeyRecord, RouteRecord
from gateway.openai_errors import ErrorResponse

RoutesByName = Mapping[tuple[str, str], RouteRecord]  # (organization id, deployment name) → route


def find_route(model: str, key: KeyRecord, routes: RoutesByName) -> RouteRecord | ErrorResponse:
    base, colon, adapter = model.partition(":")
    owner, slash, name = base.rpartition("/")
    if slash and owner != key.organization_slug:
        return openai_errors.model_not_found(model)
    route = routes.get((key.organization_id, name))
    if route is None or (colon and adapter not in route.adapters):
        return openai_errors.model_not_found(model)
    if not _is_covered(key, route):
        return openai_errors.permission_denied("This API key may not call this deployment. Use a key that covers it.")
    return route


def get_adapter_name(model: str) -> str:
    """Return the adapter part of a model name; empty for the base model."""
    return model.partition(":")[2]


def list_callable_routes(key: KeyRecord, routes: RoutesByName) -> list[RouteRecord]:
    return [
        route for route in routes.values() if route.organization_id == key.organization_id and _is_covered(key, route)
    ]


def check_route_state(route: RouteRecord) -> ErrorResponse | None:
    """Return the error of a deployment that has failed, None while it accepts requests."""
    return openai_errors.deployment_failed(route.reason) if route.state == "failed" else None


def _is_covered(key: KeyRecord, route: RouteRecord) -> bool:
    return key.deployments is None or route.deployment_id in key.deployments
