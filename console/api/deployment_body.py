"""The configuration of a deployment as JSON schemas: what POST and PATCH take, and what answers show.

The schemas are constant. What may be chosen now (models, endpoints, GPUs, how they go together) is nothing that a
schema says: such a body is a 422 that names the field.
"""

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field

from console.api.field_types import PRINTABLE, Resource
from deployments.choices import LONGEST_DELAY_SECONDS, LONGEST_SLEEP_SECONDS, MOST_ADAPTERS, MOST_REPLICAS
from deployments.engines.registry import ENGINES
from deployments.parsing import LOWEST_CONTEXT, MOST_CONCURRENCY
from deployments.specs import ADAPTER_PATTERN, FAULTS, NAME_PATTERN, REPOSITORY_PATTERN

Schema = dict[str, Any]
_PRINTABLE = f"^{PRINTABLE.pattern}$"
_EXAMPLE = {"name": "llama3-dev-chat", "model": {"source": "catalog", "id": "llama-3.1-8b-instruct"}}


class ModelReference(Resource):
    source: Literal["catalog"]
    id: str


class Adapter(Resource):
    name: str = Field(description="Called as deployment:name.")
    repository: str
    revision: str = Field(description="Empty: the default branch.")


class Simulator(Resource):
    download_seconds: float
    initialize_seconds: float
    ttft_ms: float
    itl_ms: float
    fail: str | None


class Engine(Resource):
    name: str
    context_length: int
    max_concurrency: int
    prefix_caching: bool
    simulator: Simulator | None


class Gpu(Resource):
    type: str
    count: int = Field(description="GPUs of each replica.")


class ReplicaRange(Resource):
    enabled: Literal[True]
    min_replicas: int = Field(description="0: it sleeps when nobody calls it.")
    max_replicas: int
    scale_down_delay_seconds: int
    sleep_after_seconds: int | None = Field(description="Null: the scale-down delay.")


class FixedReplicas(Resource):
    enabled: Literal[False]
    replicas: int


class Configuration(Resource):
    """The part that a revision holds."""

    model: ModelReference
    adapters: list[Adapter]
    engine: Engine
    gpu: Gpu


def create_schema() -> Schema:
    """Of a new deployment."""
    return {
        "title": "NewDeployment",
        "examples": [_EXAMPLE],
        **_closed(
            {
                "name": _text(
                    pattern=f"^{NAME_PATTERN}$",
                    description="Unique in the organization; what clients send as model. Never changes.",
                ),
                "description": _text(500, default=""),
                "endpoint": _text(63, default="default", description="Where it is exposed. Never changes."),
                "model": _model(required=["source", "id"]),
                "adapters": _nullable(_adapters()),
                "engine": _closed(
                    {
                        "name": {"type": "string", "enum": list(ENGINES)},
                        "context_length": _whole(
                            LOWEST_CONTEXT, description="Tokens of prompt and answer together, at most the model's."
                        ),
                        "max_concurrency": _whole(
                            1, MOST_CONCURRENCY, default=16, description="Requests at once per replica."
                        ),
                        "prefix_caching": {"type": "boolean", "default": True},
                        "simulator": _nullable(_closed({**_simulator_times(), "fail": _fault()})),
                    }
                ),
                "gpu": _closed({"type": _gpu_type(), "count": _whole(1, description="GPUs of each replica.")}),
                "autoscaling": _autoscaling(),
                "labels": _labels(),
            },
            required=["name", "model"],
        ),
    }


def patch_schema() -> Schema:
    """Of a merge patch: null brings a default back."""
    unchanging = "Never changes: only the value in force is taken."
    ranged, fixed = _autoscaling()["anyOf"]
    labels = _labels()
    return {
        "title": "DeploymentPatch",
        "examples": [{"autoscaling": {"max_replicas": 2}}],
        **_closed(
            {
                "name": _text(pattern=f"^{NAME_PATTERN}$", description=unchanging),
                "description": _nullable(_text(500)),
                "endpoint": _text(63, description=unchanging),
                "model": _model(),
                "adapters": _nullable(_adapters()),
                "engine": _nullable(
                    _closed(
                        {
                            "name": _nullable({"type": "string", "enum": list(ENGINES)}),
                            "context_length": _nullable(_whole(LOWEST_CONTEXT)),
                            "max_concurrency": _nullable(_whole(1, MOST_CONCURRENCY)),
                            "prefix_caching": _nullable({"type": "boolean"}),
                            "simulator": _nullable(_closed({**_nullable_fields(_simulator_times()), "fail": _fault()})),
                        }
                    )
                ),
                "gpu": _closed({"type": _text(60, description=unchanging), "count": _nullable(_whole(1))}),
                "autoscaling": {
                    "anyOf": [
                        {**variant, "properties": _nullable_fields(variant["properties"])}
                        for variant in (ranged, fixed)
                    ]
                    + [{"type": "null"}]
                },
                "labels": _nullable({**labels, "additionalProperties": _nullable(labels["additionalProperties"])}),
            }
        ),
    }


def _model(required: Iterable[str] = ()) -> Schema:
    id_schema = _text(80, description="GET /models lists them.")
    return _closed({"source": {"type": "string", "enum": ["catalog"]}, "id": id_schema}, required=required)


def _adapters() -> Schema:
    adapter = _closed(
        {
            "name": {
                "type": "string",
                "pattern": f"^{ADAPTER_PATTERN}$",
                "description": "Called as deployment:name; unique in the deployment, usually the repository's name.",
            },
            "repository": {"type": "string", "pattern": f"^{REPOSITORY_PATTERN}$"},
            "revision": _text(100, default=""),
        },
        required=["repository"],
    )
    return {
        "type": "array",
        "maxItems": MOST_ADAPTERS,
        "items": {**adapter, "description": "A LoRA adapter from Hugging Face."},
    }


def _simulator_times() -> dict[str, Schema]:
    most = {"download_seconds": 3600, "initialize_seconds": 3600, "ttft_ms": 60_000, "itl_ms": 10_000}
    return {name: {"type": "number", "minimum": 0, "maximum": highest} for name, highest in most.items()}


def _fault() -> Schema:
    return _nullable({"type": "string", "enum": list(FAULTS)})


def _gpu_type() -> Schema:
    about = "GET /gpu-types lists them; Predibase's names, which say the count too, are understood. Never changes."
    return _text(60, description=about)


def _autoscaling() -> Schema:
    """A range, or a fixed number; either may be named by its fields alone."""
    return {
        "anyOf": [
            _closed(
                {
                    "enabled": {"type": "boolean", "const": True},
                    "min_replicas": _whole(0, MOST_REPLICAS, description="0: it sleeps when nobody calls it."),
                    "max_replicas": _whole(1, MOST_REPLICAS, description="Not below min_replicas."),
                    "scale_down_delay_seconds": _whole(0, LONGEST_DELAY_SECONDS),
                    "sleep_after_seconds": _nullable(_whole(0, LONGEST_SLEEP_SECONDS)),
                }
            ),
            _closed({"enabled": {"type": "boolean", "const": False}, "replicas": _whole(1, MOST_REPLICAS)}),
        ]
    }


def _labels() -> Schema:
    return {
        "type": "object",
        "maxProperties": 32,
        "propertyNames": {"minLength": 1, "maxLength": 63, "pattern": _PRINTABLE},
        "additionalProperties": _text(255),
    }


def _closed(properties: Schema, required: Iterable[str] = ()) -> Schema:
    required = {"required": list(required)} if required else {}
    return {"type": "object", "additionalProperties": False, **required, "properties": properties}


def _text(longest: int | None = None, *, pattern: str = _PRINTABLE, **rest: Any) -> Schema:
    bound = {"maxLength": longest} if longest else {}
    return {"type": "string", **bound, "pattern": pattern, **rest}


def _whole(lowest: int, highest: int | None = None, **rest: Any) -> Schema:
    bound = {"maximum": highest} if highest is not None else {}
    return {"type": "integer", "minimum": lowest, **bound, **rest}


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _nullable_fields(fields: dict[str, Schema]) -> dict[str, Schema]:
    return {name: schema if "anyOf" in schema else _nullable(schema) for name, schema in fields.items()}
