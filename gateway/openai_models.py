"""The bodies of `GET /v1/models` and `GET /v1/models/{id}`. Pure.

Deployments and adapters have the format of base models and adapters in vLLM: `root` and `parent` name the base.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from gateway.contract import RouteRecord


def build_model(route: RouteRecord, adapter: str = "") -> dict[str, Any]:
    """Build the model object of a deployment, or of one of its adapters."""
    return {
        "id": f"{route.name}:{adapter}" if adapter else route.name,
        "object": "model",
        "created": int(route.created_at),
        "owned_by": route.organization_slug,
        "root": route.name,
        "parent": route.name if adapter else None,
    }


def render_model(route: RouteRecord, adapter: str = "") -> bytes:
    return json.dumps(build_model(route, adapter)).encode()


def render_models(routes: Iterable[RouteRecord]) -> bytes:
    """Render the list of deployments, sorted by name, each followed by its adapters."""
    models = [
        build_model(route, adapter)
        for route in sorted(routes, key=lambda route: route.name)
        for adapter in ("", *sorted(route.adapters))
    ]
    return json.dumps({"object": "list", "data": models}).encode()
