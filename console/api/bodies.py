"""JSON schemas of what clients send. The one for a deployment names what may be chosen now (models with their context,
endpoints with their GPUs), so that a body which fits it is one that the API takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from console.api.keys import LONGEST_NAME, MOST_DEPLOYMENTS, SCOPES
from console.api.parameters import TIME
from deployments.choices import LONGEST_DELAY_SECONDS, LONGEST_SLEEP_SECONDS, MOST_ADAPTERS, MOST_REPLICAS
from deployments.parsing import LOWEST_CONTEXT, MOST_CONCURRENCY, PREDIBASE_TYPES
from deployments.specs import ADAPTER_PATTERN, FAULTS, NAME_PATTERN, REPOSITORY_PATTERN, EndpointOption, Options

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
        "endpoint": words([endpoint.name], description="Where it is exposed."),
        "model": closed(
            {
                "source": words(["catalog"]),
                "id": words(sorted(models), description="GET /models lists them."),
            },
            required=["source", "id"],
        ),
        "engine": _engine(endpoint, options, most_context),
        "gpu": _gpu(endpoint.gpus),
        "adapters": {"type": "array", "maxItems": 1, "items": adapter()},
        "autoscaling": autoscaling(options.delay_floor_seconds),
        "labels": labels(),
    }
    title = f"On the endpoint {endpoint.name}, a model that reads {most_context} tokens"
    return {"title": title, **closed(properties, required=required)}


def _engine(endpoint: EndpointOption, options: Options, most_context: int) -> Schema:
    ready = [name for name, availability in options.engines.items() if availability == "available"]
    names = [name for name in ready if (name == "simulator") or not endpoint.simulated]
    common = {
        "context_length": whole(LOWEST_CONTEXT, most_context, description="Tokens of prompt and answer together."),
        "max_concurrency": whole(1, MOST_CONCURRENCY, default=16, description="Requests at once per replica."),
        "prefix_caching": {"type": "boolean", "default": True},
    }
    if names == ["simulator"]:
        return closed({"name": words(names), **common, "simulator": _simulator()})
    real = [name for name in names if name != "simulator"]
    simulated = {"name": words(["simulator"]), **common, "simulator": _simulator()}
    return {
        "anyOf": [
            closed({"name": words(real), **common, "simulator": {"type": "null"}}),
            closed(simulated, required=["name"]),
        ]
    }


def _simulator() -> Schema:
    fields = {
        "download_seconds": number(3600),
        "initialize_seconds": number(3600),
        "ttft_ms": number(60_000),
        "itl_ms": number(10_000),
        "fail": {"type": ["string", "null"], "enum": [None, *FAULTS]},
    }
    return {**closed(fields), "type": ["object", "null"]}


def _gpu(gpus: Mapping[str, int]) -> Schema:
    """Types grouped by how many there are, the largest group first: only there the type may be left to the console;
    and Predibase's names, which say the count themselves."""
    by_count: dict[int, list[str]] = defaultdict(list)
    for name, count in sorted(gpus.items()):
        by_count[count].append(name)
    most = max(by_count)
    groups = [
        closed({"type": words(by_count[count]), "count": whole(1, count)}, [] if count == most else ["type"])
        for count in sorted(by_count, reverse=True)
        if count
    ]
    aliases = [
        f"{alias}_{number}00" for alias, name in PREDIBASE_TYPES.items() for number in range(1, gpus.get(name, 0) + 1)
    ]
    return {"anyOf": [*groups, *([closed({"type": words(aliases)}, ["type"])] if aliases else [])]}


def adapter() -> Schema:
    """Names are unique within a deployment, which a schema cannot say: it allows one, the API up to MOST_ADAPTERS."""
    fields = {
        "name": {"type": "string", "pattern": f"^{ADAPTER_PATTERN}$", "description": "Called as deployment:name."},
        "repository": {"type": "string", "pattern": f"^{REPOSITORY_PATTERN}$"},
        "revision": {"type": "string", "maxLength": 100, "pattern": PRINTABLE, "default": ""},
    }
    about = f"A LoRA adapter from Hugging Face; a deployment takes up to {MOST_ADAPTERS} with different names."
    return {**closed(fields, required=["repository"]), "description": about}


def autoscaling(floor: int) -> Schema:
    """A range, or a fixed number. That the maximum is not below the minimum is said by two variants."""
    delay = whole(floor, LONGEST_DELAY_SECONDS, default=max(300, floor))
    sleep = {"type": ["integer", "null"], "minimum": floor, "maximum": LONGEST_SLEEP_SECONDS, "default": None}
    common = {
        "enabled": {"type": "boolean", "enum": [True]},
        "scale_down_delay_seconds": delay,
        "sleep_after_seconds": sleep,
    }
    few = {"min_replicas": whole(0, 3, default=1), "max_replicas": whole(3, MOST_REPLICAS, default=3)}
    fixed = {"enabled": {"type": "boolean", "enum": [False]}, "replicas": whole(1, MOST_REPLICAS, default=1)}
    return {"anyOf": [closed({**common, **few}), closed(fixed, required=["enabled"])]}


def labels() -> Schema:
    return {
        "type": "object",
        "maxProperties": 32,
        "propertyNames": {"minLength": 1, "maxLength": 63, "pattern": PRINTABLE},
        "additionalProperties": {"type": "string", "maxLength": 255, "pattern": PRINTABLE},
    }


def closed(properties: Schema, required: Iterable[str] = ()) -> Schema:
    wanted = {"required": list(required)} if required else {}
    return {"type": "object", "additionalProperties": False, **wanted, "properties": properties}


def words(values: Iterable[str], **rest: Any) -> Schema:
    return {"type": "string", "enum": list(values), **rest}


def whole(lowest: int, highest: int, **rest: Any) -> Schema:
    return {"type": "integer", "minimum": lowest, "maximum": highest, **rest}


def number(highest: float) -> Schema:
    return {"type": "number", "minimum": 0, "maximum": highest}


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
            "items": words(SCOPES),
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
            "items": {"type": "string", "maxLength": 63, "pattern": PRINTABLE},
            "description": "Ids or names that the key may call; null for all.",
        },
    },
}
ROLLBACK: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "revision": {
            "type": ["integer", "null"],
            "minimum": 1,
            "maximum": 2**31 - 1,
            "description": "Its number; null for the latest earlier one that differs and did not fail.",
        }
    },
}
NOTHING: Schema = {"type": "object", "additionalProperties": False}
