"""JSON schemas of configurations, for the API's document. Pure and constant: they name no row and no setting.

What depends on the environment (which models and GPUs there are, the lowest delay) or on several fields at once is
beyond a schema, and is checked when a body is parsed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployments.config.configuration import DISCRIMINATORS, Configuration
from deployments.config.settings_index import SETTINGS

Schema = dict[str, Any]

# What never changes after creation, and what has no default: null brings nothing back there.
NOT_NULLABLE = {
    "model",
    "gpu",
    *(f"{section}.{field}" for section, field in DISCRIMINATORS.items()),
    *(path for path, declared in SETTINGS.items() if declared.required or declared.setting.immutable),
}


def create_schema() -> Schema:
    """What a POST takes."""
    example = {"name": "llama3-dev-chat", "model": {"source": "catalog", "id": "llama-3.1-8b-instruct"}}
    return {**_schema(), "title": "NewDeployment", "description": "", "examples": [example]}


def patch_schema() -> Schema:
    """What a PATCH takes (RFC 7396): every field optional; null brings the default back."""
    example = {"autoscaling": {"max_replicas": 2}}
    return {**_optional(create_schema(), ""), "title": "DeploymentPatch", "examples": [example]}


def limits_patch_schema(title: str) -> Schema:
    """What a PATCH of something takes that has limits only."""
    limits = patch_schema()["properties"]["limits"]
    example = {"limits": {"organization": {"tokens_per_minute": 1_000_000}}}
    return {
        "title": title, "type": "object", "additionalProperties": False, "properties": {"limits": limits},
        "examples": [example],
    }  # fmt: skip


def _schema() -> Schema:
    schema = Configuration.model_json_schema()
    found: Schema = _inline(schema, schema.pop("$defs"))
    return found


def _inline(schema: Any, definitions: Mapping[str, Schema]) -> Any:
    """Without references and discriminators. Variants may overlap while a discriminator is omitted, so that `oneOf`
    becomes `anyOf`. A null default stands for "chosen when absent" and is left out, as are those of objects, which
    their fields state and client generators do not take."""
    if isinstance(schema, list):
        return [_inline(below, definitions) for below in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        definition = definitions[schema["$ref"].rpartition("/")[2]]
        return _inline({**definition, **{key: value for key, value in schema.items() if key != "$ref"}}, definitions)
    result = {key: _inline(value, definitions) for key, value in schema.items() if key != "discriminator"}
    if "oneOf" in result:
        result["anyOf"] = result.pop("oneOf")
    if "patternProperties" in result:
        result["additionalProperties"] = False
    default = result.get("default", ...)
    if isinstance(default, dict) or (default is None and not _is_nullable(result)):
        del result["default"]
    return result


def _optional(schema: Schema, path: str) -> Schema:
    if "anyOf" in schema:
        variants = [_optional(variant, path) for variant in schema["anyOf"]]
        return {**_without_default(schema), "anyOf": variants}
    if schema.get("type") != "object":
        return _without_default(schema)
    result = {key: value for key, value in _without_default(schema).items() if key != "required"}
    if "properties" in result:
        prefix = f"{path}." if path else ""
        result["properties"] = {
            name: _nullable(_optional(below, prefix + name), prefix + name)
            for name, below in result["properties"].items()
        }
    if "patternProperties" in result:
        result["patternProperties"] = {
            pattern: _nullable(below, f"{path}.*") for pattern, below in result["patternProperties"].items()
        }
    return result


def _nullable(schema: Schema, path: str) -> Schema:
    if path in NOT_NULLABLE or _is_nullable(schema):
        return schema
    about: Schema = {key: schema[key] for key in ("title", "description") if key in schema}
    return {"anyOf": [schema, {"type": "null"}], **about}


def _is_nullable(schema: Schema) -> bool:
    return any(variant.get("type") == "null" for variant in schema.get("anyOf", ()))


def _without_default(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key != "default"}
