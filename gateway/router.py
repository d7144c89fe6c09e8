"""Which deployment a model name means for a key, or the refusal. Pure.

A name is a deployment's own name within the key's organization, or `owner-slug/name`; `:adapter` behind it names one of
its adapters. What the organization may not see, or has no such adapter, is answered with the bytes of what does not
exist; 403 is for what it may see but this key may not call.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway import openai
from gateway.contract import KeyRecord, RouteRecord
from gateway.openai import Refusal

Routes = Mapping[tuple[str, str], RouteRecord]


def route(model: str, key: KeyRecord, routes: Routes) -> RouteRecord | Refusal:
    """`routes` maps (organization id, deployment name) → route."""
    base, colon, adapter = model.partition(":")
    owner, slash, name = base.rpartition("/")
    if slash and owner != key.organization_slug:
        return openai.model_not_found(model)
    found = routes.get((key.organization_id, name))
    if found is None or (colon and adapter not in found.adapters):
        return openai.model_not_found(model)
    if not _may_call(key, found):
        return openai.forbidden("This API key may not call this deployment. Use a key that covers it.")
    return found


def adapter_of(model: str) -> str:
    """The adapter that a model name asks for; empty for the base."""
    return model.partition(":")[2]


def callable_routes(key: KeyRecord, routes: Routes) -> list[RouteRecord]:
    """All that the key may call."""
    return [
        found for found in routes.values() if found.organization_id == key.organization_id and _may_call(key, found)
    ]


def refusal_of_state(found: RouteRecord) -> Refusal | None:
    """Why a deployment that may be called cannot answer for good."""
    return openai.deployment_failed(found.reason) if found.state == "failed" else None


def _may_call(key: KeyRecord, found: RouteRecord) -> bool:
    return key.deployments is None or found.deployment_id in key.deployments
