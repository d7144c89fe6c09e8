"""The JSON schema of a merge patch on a deployment: every field of its body that may change, nullable where null
brings a default back.

What a patch may hold also depends on the deployment that it meets, which a schema cannot say. What fits here is taken
by every deployment that the schema of a new one allows; the API takes more: each model, with a context length beside
it where it reads less than what is in force; a longer context where the model reads it; more GPUs where there are more
of its type; more than one adapter.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from console.api.bodies import PRINTABLE, Schema, adapter, autoscaling, closed, labels, number, whole, words
from deployments.parsing import LOWEST_CONTEXT, MOST_CONCURRENCY
from deployments.specs import FAULTS, Options


def deployment(options: Options) -> Schema:
    """With the model that it has, or with one that reads as much as any."""
    by_context: dict[int, list[str]] = defaultdict(list)
    for name, one in options.models.items():
        by_context[one.context_length].append(name)
    shortest, longest = min(by_context, default=LOWEST_CONTEXT), max(by_context, default=0)
    kept = _properties(options, shortest)
    if not longest:
        return closed(kept)
    about = "Another one of the catalog; one that reads less needs engine.context_length beside it."
    model = closed({"source": words(["catalog"]), "id": words(sorted(by_context[longest]), description=about)}, ["id"])
    other = closed({"model": model, **_properties(options, longest)}, ["model"])
    titles = ("With the model that it has", "With another model")
    return {
        "anyOf": [{"title": title, **variant} for title, variant in zip(titles, (closed(kept), other), strict=True)]
    }


def _properties(options: Options, most_context: int) -> Schema:
    return {
        "description": _nullable({"type": "string", "maxLength": 500, "pattern": PRINTABLE}),
        "engine": _nullable(_engine(options, most_context)),
        "gpu": closed({"count": _nullable(whole(1, _fewest_gpus(options)))}),
        "adapters": _nullable({"type": "array", "maxItems": 1, "items": adapter()}),
        "autoscaling": _nullable(_autoscaling(options.delay_floor_seconds)),
        "labels": _nullable(_labels()),
    }


def _engine(options: Options, most_context: int) -> Schema:
    """The simulator's settings belong to the simulator, which has to be named where there are other engines."""
    simulator = _nullable(closed(_simulator()))
    if all(endpoint.simulated for endpoint in options.endpoints.values()):
        return closed({"name": words(["simulator"]), **_settings(most_context), "simulator": simulator})
    settings = _settings(most_context)
    named = closed({"name": words(["simulator"]), **settings, "simulator": simulator}, required=["name"])
    return {"anyOf": [closed(settings), named]}


def _settings(most_context: int) -> Schema:
    return {
        "context_length": {**_nullable(whole(LOWEST_CONTEXT, most_context)), "description": "Of the model at most."},
        "max_concurrency": _nullable(whole(1, MOST_CONCURRENCY)),
        "prefix_caching": _nullable({"type": "boolean"}),
    }


def _simulator() -> Schema:
    return {
        "download_seconds": _nullable(number(3600)),
        "initialize_seconds": _nullable(number(3600)),
        "ttft_ms": _nullable(number(60_000)),
        "itl_ms": _nullable(number(10_000)),
        "fail": {"type": ["string", "null"], "enum": [None, *FAULTS]},
    }


def _autoscaling(floor: int) -> Schema:
    """As in the body of a new deployment; either mode may be named by its fields alone."""
    ranged, fixed = autoscaling(floor)["anyOf"]
    variants = [closed({name: _nullable(one) for name, one in mode["properties"].items()}) for mode in (ranged, fixed)]
    return {"anyOf": variants}


def _labels() -> Schema:
    return {**labels(), "additionalProperties": _nullable(labels()["additionalProperties"])}


def _fewest_gpus(options: Options) -> int:
    counts = [count for endpoint in options.endpoints.values() for count in endpoint.gpus.values() if count]
    return min(counts, default=1)


def _nullable(schema: Schema) -> Schema:
    """Null takes the value away: the default comes back."""
    if "anyOf" in schema:
        return {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    kinds: Any = schema["type"]
    found = {**schema, "type": [*([kinds] if isinstance(kinds, str) else kinds), "null"]}
    found["type"] = list(dict.fromkeys(found["type"]))
    return {**found, "enum": [*found["enum"], None]} if "enum" in found and None not in found["enum"] else found
