"""JSON schemas of what clients send. The one for a deployment names what may be chosen now (models with their context,
endpoints with their GPUs), so that a body which fits it is one that the API takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from console.api.keys import LONGEST_NAME, MOST_DEPLOYMENTS, SCOPES
from console.api.parameters import TIME
from deployments.parsing import LOWEST_CONTEXT, MOST_CONCURRENCY, MOST_REPLICAS, PREDIBASE_TYPES
from deployments.specs import FAULTS, NAME_PATTERN, EndpointOption, Options

Schema = dict[str, Any]
PRINTABLE = "^[^\x00-\x08\x0b-\x1f\x7f]*$"


def deployment(options: Options) -> Schema:
    """One variant for each endpoint and each context length that models of the catalog have."""
    by_context: dict[int, list[str]] = defaultdict(list)
    for name, model in options.models.items():
        by_context[model.context_length].append(name)
    variants = [
        _variant(endpoint, options, most_context, names)
        for endpoint in options.endpoints.values()
        if any(endpoint.gpus.values())
        for most_context, names in sorted(by_context.items())
    ]
    return {"anyOf": variants} if variants else {"not": {}, "description": "Nothing can be deployed yet."}


def _variant(endpoint: EndpointOption, options: Options, most_context: int, models: Iterable[str]) -> Schema:
    required = ["name", "model"] if endpoint.name == "default" else ["name", "model", "endpoint"]
    properties = {
        "name": {
            "type": "string",
            "pattern": f"^{NAME_PATTERN}$",
            "description": "Unique in the organization; what clients send as model.",
        },
        "description": {"type": "string", "maxLength": 500, "pattern": PRINTABLE, "default": ""},
        "endpoint": {"type": "string", "enum": [endpoint.name], "description": "Where it is exposed."},
        "model": _object(
            {
                "source": {"type": "string", "enum": ["catalog"]},
                "id": {"type": "string", "enum": sorted(models), "description": "GET /models lists them."},
            },
            required=["source", "id"],
        ),
        "engine": _engine(endpoint, options, most_context),
        "gpu": _gpu(endpoint.gpus),
        "autoscaling": _object(
            {
                "enabled": {"type": "boolean", "enum": [False], "default": False},
                "replicas": _whole(1, MOST_REPLICAS, default=1),
            }
        ),
        "labels": _labels(),
    }
    title = f"On the endpoint {endpoint.name}, a model that reads {most_context} tokens"
    return {"title": title, **_object(properties, required=required)}


def _engine(endpoint: EndpointOption, options: Options, most_context: int) -> Schema:
    ready = [name for name, availability in options.engines.items() if availability == "available"]
    names = [name for name in ready if (name == "simulator") or not endpoint.simulated]
    common = {
        "context_length": _whole(LOWEST_CONTEXT, most_context, description="Tokens of prompt and answer together."),
        "max_concurrency": _whole(1, MOST_CONCURRENCY, default=16, description="Requests at once per replica."),
        "prefix_caching": {"type": "boolean", "default": True},
    }
    if names == ["simulator"]:
        return _object({"name": {"type": "string", "enum": names}, **common, "simulator": _simulator()})
    real = [name for name in names if name != "simulator"]
    simulated = {"name": {"type": "string", "enum": ["simulator"]}, **common, "simulator": _simulator()}
    return {
        "anyOf": [
            _object({"name": {"type": "string", "enum": real}, **common, "simulator": {"type": "null"}}),
            _object(simulated, required=["name"]),
        ]
    }


def _simulator() -> Schema:
    fields = {
        "download_seconds": _number(3600),
        "initialize_seconds": _number(3600),
        "ttft_ms": _number(60_000),
        "itl_ms": _number(10_000),
        "fail": {"type": ["string", "null"], "enum": [None, *FAULTS]},
    }
    return {**_object(fields), "type": ["object", "null"]}


def _gpu(gpus: Mapping[str, int]) -> Schema:
    """By type with a count, by Predibase's name, or left to the console."""
    there = {name: count for name, count in gpus.items() if count}
    types = [_object({"type": _const(name), "count": _whole(1, count)}, ["type"]) for name, count in there.items()]
    aliases = [
        _object({"type": _const(f"{alias}_{number}00"), "count": {"type": "integer", "enum": [number]}}, ["type"])
        for alias, name in PREDIBASE_TYPES.items()
        for number in range(1, there.get(name, 0) + 1)
    ]
    return {"anyOf": [*types, _object({"count": _whole(1, max(there.values()))}), *aliases]}


def _labels() -> Schema:
    return {
        "type": "object",
        "maxProperties": 32,
        "propertyNames": {"minLength": 1, "maxLength": 63, "pattern": PRINTABLE},
        "additionalProperties": {"type": "string", "maxLength": 255, "pattern": PRINTABLE},
    }


API_KEY: Schema = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "scopes"],
    "properties": {
        "name": {"type": "string", "maxLength": LONGEST_NAME, "pattern": r"^[!-~]([ -~]*[!-~])?$"},
        "scopes": {
            "type": "array",
            "minItems": 1,
            "maxItems": len(SCOPES),
            "items": {"type": "string", "enum": list(SCOPES)},
            "description": "inference: the gateway. read: GET of this API. manage: all of this API.",
        },
        "expires_at": {
            "type": ["string", "null"],
            "format": "date-time",
            "pattern": f"^{TIME}$",
            "description": "Null: never. A key whose time has passed is refused from the start.",
        },
        "deployments": {
            "type": ["array", "null"],
            "maxItems": MOST_DEPLOYMENTS,
            "items": {"type": "string", "maxLength": 63},
            "description": "Ids or names that the key may call; null for all.",
        },
    },
}
NOTHING: Schema = {"type": "object", "additionalProperties": False}


def _object(properties: Schema, required: Iterable[str] = ()) -> Schema:
    wanted = {"required": list(required)} if required else {}
    return {"type": "object", "additionalProperties": False, **wanted, "properties": properties}


def _const(value: str) -> Schema:
    return {"type": "string", "enum": [value]}


def _whole(lowest: int, highest: int, **rest: Any) -> Schema:
    return {"type": "integer", "minimum": lowest, "maximum": highest, **rest}


def _number(highest: float) -> Schema:
    return {"type": "number", "minimum": 0, "maximum": highest}
