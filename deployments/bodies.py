"""Configurations as the JSON of rest.md §3, and merge patches on it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from deployments.choices import RANGE
from deployments.parsing import says_count
from deployments.specs import Autoscaling, DeploymentSpec, RevisionSpec

Body = dict[str, Any]


def body_of(spec: DeploymentSpec) -> Body:
    """The canonical body: every value there, so that parsing it gives `spec` again."""
    return {
        "name": spec.name,
        "description": spec.description,
        "endpoint": spec.endpoint,
        **configuration_of(spec.revision, spec.gpu_type),
        "autoscaling": autoscaling_of(spec.autoscaling),
        "labels": dict(spec.labels),
    }


def configuration_of(spec: RevisionSpec, gpu_type: str) -> Body:
    """The part of the body that a revision holds, and the GPU type, which never changes."""
    return {
        "model": {"source": spec.model.source, "id": spec.model.id},
        "adapters": [asdict(one) for one in spec.adapters],
        "engine": {"simulator": None, **asdict(spec.engine)},
        "gpu": {"type": gpu_type, "count": spec.gpu_count},
    }


def autoscaling_of(chosen: Autoscaling) -> Body:
    """The range, or the fixed number."""
    if not chosen.enabled:
        return {"enabled": False, "replicas": chosen.max_replicas}
    return {"enabled": True, **{name: getattr(chosen, name) for name in RANGE}}


def merged(current: Mapping[str, Any], patch: Mapping[str, Any]) -> Body:
    """A merge patch (RFC 7396) on a canonical body: null takes a value away, so that its default comes back. What
    never changes has no default to come back: null stays there, for the parser to refuse.

    What belongs only to the value that the patch replaces goes with it, unless the patch names it: the range or the
    fixed number when autoscaling is switched, the simulator's settings with the simulator, the count of GPUs when
    the new name of the type says one.
    """
    result = _merged(_without_orphans(current, patch), patch)
    result |= {name: None for name in ("name", "endpoint", "gpu") if name in patch and patch[name] is None}
    if "type" in (gpu := _object(patch, "gpu")) and gpu["type"] is None:
        result["gpu"]["type"] = None
    return result


def _merged(current: Mapping[str, Any], patch: Mapping[str, Any]) -> Body:
    result = {name: value for name, value in current.items() if name not in patch}
    for name, value in patch.items():
        if isinstance(value, Mapping):
            old = current.get(name)
            result[name] = _merged(old if isinstance(old, Mapping) else {}, value)
        elif value is not None:
            result[name] = value
    return result


def _without_orphans(current: Mapping[str, Any], patch: Mapping[str, Any]) -> Body:
    result = dict(current)
    autoscaling, engine, gpu = (_object(patch, name) for name in ("autoscaling", "engine", "gpu"))
    if _is_switched(current["autoscaling"], autoscaling):
        result["autoscaling"] = {}
    if "name" in engine and engine["name"] != current["engine"]["name"]:
        result["engine"] = {name: value for name, value in current["engine"].items() if name != "simulator"}
    if says_count(gpu.get("type")):
        result["gpu"] = {}
    return result


def _is_switched(current: Mapping[str, Any], patch: Mapping[str, Any]) -> bool:
    """Whether the patch turns autoscaling on or off; a field of the other mode says it as well as `enabled`."""
    if patch.get("enabled") is not None:
        return patch["enabled"] is not current["enabled"]
    named = {name for name, value in patch.items() if value is not None}
    return bool(named & set(RANGE)) if not current["enabled"] else "replicas" in named


def _object(patch: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = patch.get(name)
    return value if isinstance(value, Mapping) else {}
