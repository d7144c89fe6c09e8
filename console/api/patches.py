"""The JSON schema of a merge patch on a deployment: every field of its body that may change, nullable where null
brings a default back.

What does not fit here is refused by every deployment. What fits may still not go with what is in force (a minimum above
the maximum, more context than the model reads), which no schema can say: that is a 422 too.
"""

from __future__ import annotations

from typing import Any

from console.api.bodies import PRINTABLE, Schema, adapter, closed, labels, number, whole, words
from deployments.choices import LONGEST_DELAY_SECONDS, LONGEST_SLEEP_SECONDS, MOST_ADAPTERS, MOST_REPLICAS
from deployments.parsing import LOWEST_CONTEXT, MOST_CONCURRENCY
from deployments.specs import FAULTS, Options


def deployment(options: Options) -> Schema:
    """`options`: what may be chosen now."""
    fields = {
        "description": _nullable({"type": "string", "maxLength": 500, "pattern": PRINTABLE}),
        "engine": _nullable(_engine(options)),
        "gpu": closed({"count": _nullable(whole(1, _most_gpus(options)))}),
        "adapters": _nullable({"type": "array", "maxItems": MOST_ADAPTERS, "items": adapter()}),
        "autoscaling": _nullable(_autoscaling(options.delay_floor_seconds)),
        "labels": _nullable(_labels()),
    }
    if options.models:
        fields["model"] = closed({"source": words(["catalog"]), "id": words(sorted(options.models))})
    return closed(fields)


def _engine(options: Options) -> Schema:
    ready = [name for name, availability in options.engines.items() if availability == "available"]
    simulated = all(endpoint.simulated for endpoint in options.endpoints.values())
    longest = max((model.context_length for model in options.models.values()), default=LOWEST_CONTEXT)
    return closed(
        {
            "name": _nullable(words(["simulator"] if simulated else ready)),
            "context_length": _nullable(whole(LOWEST_CONTEXT, longest)),
            "max_concurrency": _nullable(whole(1, MOST_CONCURRENCY)),
            "prefix_caching": _nullable({"type": "boolean"}),
            "simulator": _nullable(closed(_simulator())),
        }
    )


def _simulator() -> Schema:
    return {
        "download_seconds": _nullable(number(3600)),
        "initialize_seconds": _nullable(number(3600)),
        "ttft_ms": _nullable(number(60_000)),
        "itl_ms": _nullable(number(10_000)),
        "fail": {"type": ["string", "null"], "enum": [None, *FAULTS]},
    }


def _autoscaling(floor: int) -> Schema:
    """A range, or a fixed number; either may be named by its fields alone."""
    ranged = {
        "enabled": _nullable({"type": "boolean", "enum": [True]}),
        "min_replicas": _nullable(whole(0, MOST_REPLICAS)),
        "max_replicas": _nullable(whole(1, MOST_REPLICAS)),
        "scale_down_delay_seconds": _nullable(whole(floor, LONGEST_DELAY_SECONDS)),
        "sleep_after_seconds": _nullable(whole(floor, LONGEST_SLEEP_SECONDS)),
    }
    fixed = {
        "enabled": _nullable({"type": "boolean", "enum": [False]}),
        "replicas": _nullable(whole(1, MOST_REPLICAS)),
    }
    return {"anyOf": [closed(ranged), closed(fixed)]}


def _labels() -> Schema:
    return {**labels(), "additionalProperties": _nullable(labels()["additionalProperties"])}


def _most_gpus(options: Options) -> int:
    return max((count for endpoint in options.endpoints.values() for count in endpoint.gpus.values()), default=1) or 1


def _nullable(schema: Schema) -> Schema:
    """Null takes the value away: the default comes back."""
    if "anyOf" in schema:
        return {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    kinds: Any = schema["type"]
    found = {**schema, "type": [*([kinds] if isinstance(kinds, str) else kinds), "null"]}
    found["type"] = list(dict.fromkeys(found["type"]))
    return {**found, "enum": [*found["enum"], None]} if "enum" in found and None not in found["enum"] else found
