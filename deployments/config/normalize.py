"""From the JSON that people and programs send to JSON with every discriminator in place, and merge patches. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from deployments.config.available_options import Options
from deployments.config.configuration import DISCRIMINATORS, Fixed, Range
from deployments.config.settings_index import SETTINGS
from deployments.engines.registry import ENGINES
from deployments.schema.adapter import REPOSITORY_PATTERN, default_name
from deployments.schema.engine_settings import EngineSettings

Json = dict[str, Any]
FIXED_ONLY = set(Fixed.model_fields) - set(Range.model_fields)
RANGE_ONLY = set(Range.model_fields) - set(Fixed.model_fields)
OWN_SETTINGS = {field for engine in ENGINES.values() for field in engine.settings.model_fields} - set(
    EngineSettings.model_fields
)

# What never changes, and what chooses a variant, has no default that null could bring back.
KEEPS_NULL = [
    *(path for path, declared in SETTINGS.items() if declared.setting.immutable),
    *(f"{section}.{field}" for section, field in DISCRIMINATORS.items()),
]


def normalize(body: Mapping[str, Any], options: Options) -> Json:
    """A copy with what may be omitted filled in: the engine's name (the endpoint's default engine), `enabled` of
    autoscaling (`replicas` alone means a fixed number), a maximum that follows a high minimum, and adapters' names.

    Values of the wrong type stay as they are, for validation to report.
    """
    result: Json = with_whole_floats_as_integers(body)
    result["engine"] = _normalized_engine(result, options)
    if isinstance(scaling := result.get("autoscaling"), dict):
        scaling.setdefault("enabled", "replicas" not in scaling)
        least = scaling.get("min_replicas")
        if scaling["enabled"] is True and isinstance(least, int) and least > Range.model_fields["max_replicas"].default:
            scaling.setdefault("max_replicas", least)
    if isinstance(adapters := result.get("adapters"), list):
        for adapter in adapters:
            if isinstance(adapter, dict) and re.fullmatch(REPOSITORY_PATTERN, str(adapter.get("repository"))):
                adapter.setdefault("name", default_name(adapter["repository"]))
    return result


def _normalized_engine(body: Json, options: Options) -> Any:
    engine = body.get("engine", {})
    if not isinstance(engine, dict):
        return engine
    endpoint = options.endpoints.get(str(body.get("endpoint", "default")))
    engine.setdefault("name", endpoint.default_engine if endpoint else "vllm")
    own = ENGINES[engine["name"]].settings.model_fields if str(engine["name"]) in ENGINES else {}
    if engine.get("simulator", {}) is None:
        del engine["simulator"]
    # Null says "not set", which is what the settings of another engine are.
    return {
        field: value
        for field, value in engine.items()
        if value is not None or field in own or field not in OWN_SETTINGS
    }


def with_whole_floats_as_integers(value: Any) -> Any:
    """The same JSON with 2.0 as 2."""
    match value:
        case Mapping():
            return {name: with_whole_floats_as_integers(below) for name, below in value.items()}
        case list():
            return [with_whole_floats_as_integers(below) for below in value]
        case float() if math.isfinite(value) and value.is_integer():
            return int(value)
        case _:
            return value


def merge(current: Mapping[str, Any], patch: Mapping[str, Any]) -> Json:
    """A merge patch (RFC 7396) on a canonical body: null removes a value, so that its default comes back.

    Settings that belong only to a variant that the patch replaces go with it: the range when autoscaling is switched
    off, the settings of another engine. What never changes has no default: null stays there, to be refused.
    """
    base = dict(current)
    autoscaling, engine = _object(patch, "autoscaling"), _object(patch, "engine")
    if _switches_autoscaling(current["autoscaling"], autoscaling):
        base["autoscaling"] = {}
    if new_engine := ENGINES.get(str(engine.get("name") or current["engine"]["name"])):
        fields = new_engine.settings.model_fields
        base["engine"] = {name: value for name, value in current["engine"].items() if name in fields}
    result = merge_objects(base, patch)
    for path in KEEPS_NULL:
        section, _, name = path.partition(".")
        if patch.get(section, ...) is None and section not in DISCRIMINATORS:
            result[section] = None
        elif name and _object(patch, section).get(name, ...) is None:
            result[section][name] = None
    return result


def merge_objects(current: Mapping[str, Any], patch: Mapping[str, Any]) -> Json:
    """A merge patch without regard to variants."""
    result = {name: value for name, value in current.items() if name not in patch}
    for name, value in patch.items():
        if isinstance(value, Mapping):
            old = current.get(name)
            result[name] = merge_objects(old if isinstance(old, Mapping) else {}, value)
        elif value is not None:
            result[name] = value
    return result


def _switches_autoscaling(current: Mapping[str, Any], patch: Mapping[str, Any]) -> bool:
    """Whether a patch turns autoscaling on or off; a setting of the other mode says so as well as `enabled`."""
    if patch.get("enabled") is not None:
        return patch["enabled"] is not current["enabled"]
    named = {name for name, value in patch.items() if value is not None}
    return bool(named & (FIXED_ONLY if current["enabled"] else RANGE_ONLY))


def _object(patch: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = patch.get(name)
    return value if isinstance(value, Mapping) else {}
