"""From the JSON of rest.md §3 to a `DeploymentSpec`, every default filled in and everything wrong named. Pure.

Callers use `specs.parse`. A field that nothing enforces yet is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from deployments import choices, specs
from deployments.fields import Fields
from deployments.specs import EndpointOption, EngineSettings, ModelRef, Options, SimulatorSettings

LOWEST_CONTEXT, DEFAULT_CONTEXT = 256, 8192
MOST_CONCURRENCY = 1024
MEMORY_PER_WEIGHTS, MEMORY_BESIDE_GIB = 1.2, 2.0
GIB = 2**30

# Predibase names an accelerator by product, memory and 100 × count.
PREDIBASE_TYPES = {
    "a10_24gb": "a10g-24gb",
    "l4_24gb": "l4-24gb",
    "l40s_48gb": "l40s-48gb",
    "a100_80gb": "a100-80gb",
    "h100_80gb_pcie": "h100-pcie-80gb",
    "h100_80gb_sxm": "h100-sxm-80gb",
}
_PREDIBASE = re.compile(r"(.+)_([1-9]\d?)00")


def parse(
    body: Mapping[str, Any], options: Options, in_force: specs.DeploymentSpec | None = None
) -> specs.DeploymentSpec:
    """Raises `specs.InvalidSpec` with one error for each thing wrong; what is `in_force` already may stay."""
    options = _with_what_is_in_force(options, in_force) if in_force else options
    fields = Fields(body)
    if not fields.is_object:
        raise specs.InvalidSpec(fields.errors)
    name = _name(fields)
    endpoint = _endpoint(fields, options)
    model = _model(fields, options)
    description = fields.text("description", "", longest=500)
    labels = fields.strings("labels", most=32, longest_key=63, longest=255)
    engine = _engine(fields, options, endpoint, model)
    adapters = choices.adapters(fields, engine.name if engine else None)
    gpu = _gpu(fields, options, endpoint, model, engine)
    autoscaling = choices.autoscaling(fields, options, in_force.autoscaling if in_force else None)
    fields.finish()
    if fields.errors or not (name and endpoint and model and engine and gpu):
        raise specs.InvalidSpec(fields.errors)
    return specs.DeploymentSpec(
        name=name,
        endpoint=endpoint.name,
        gpu_type=gpu[0],
        revision=specs.RevisionSpec(model=model, engine=engine, gpu_count=gpu[1], adapters=adapters),
        autoscaling=autoscaling,
        description=description or "",
        labels=labels,
    )


def _with_what_is_in_force(options: Options, in_force: specs.DeploymentSpec) -> Options:
    """The model as the deployment knows it, its engine and its GPUs stay choices of their own."""
    spec, endpoint = in_force.revision, options.endpoints.get(in_force.endpoint)
    endpoints = dict(options.endpoints)
    if endpoint:
        most = max(endpoint.gpus.get(in_force.gpu_type, 0), spec.gpu_count)
        endpoints[endpoint.name] = replace(endpoint, gpus={**endpoint.gpus, in_force.gpu_type: most})
    return replace(
        options,
        models={**options.models, spec.model.id: spec.model},
        engines={**options.engines, spec.engine.name: "available"},
        endpoints=endpoints,
    )


def says_count(type_id: object) -> bool:
    """Whether the name of a GPU type is one of Predibase's, which say how many."""
    match = _PREDIBASE.fullmatch(type_id) if isinstance(type_id, str) else None
    return match is not None and match[1] in PREDIBASE_TYPES


def _name(fields: Fields) -> str | None:
    if not fields.has("name"):
        fields.refuse("name", "required", "Give the deployment a name; clients send it as model.")
    name = fields.text("name", None, longest=1000)
    if name is None or re.fullmatch(specs.NAME_PATTERN, name):
        return name
    message = "Use 1 to 63 lowercase letters, digits and hyphens, with a letter or digit at both ends."
    fields.refuse("name", "invalid_name", message)
    return None


def _endpoint(fields: Fields, options: Options) -> EndpointOption | None:
    name = fields.text("endpoint", "default", longest=63) or ""
    if name not in options.endpoints:
        known = _listed(options.endpoints) or "none yet"
        fields.refuse("endpoint", "unknown_endpoint", f"There is no endpoint {name!r}. Endpoints: {known}.")
    return options.endpoints.get(name)


def _model(fields: Fields, options: Options) -> ModelRef | None:
    if not fields.has("model"):
        fields.refuse("model", "required", 'Name a model: {"source": "catalog", "id": "…"}.')
        return None
    model = fields.child("model")
    if not model.is_object:
        return None
    if not model.has("source"):
        model.refuse("source", "required", 'Say where the model comes from: "catalog".')
    source = model.choice("source", ("catalog", "huggingface", "container"))
    if source in ("huggingface", "container"):
        model.refuse("source", "not_available_yet", 'Only models of the catalog can be deployed: use "catalog".')
        return None
    if not model.has("id"):
        model.refuse("id", "required", "Name a model of the catalog; GET /api/v1/models lists them.")
    model_id = model.text("id", None, longest=80)
    model.finish()
    if model_id is not None and model_id not in options.models:
        message = f"The catalog has no model {model_id!r}; GET /api/v1/models lists them."
        model.refuse("id", "unknown_model", message)
    return options.models.get(model_id) if model_id is not None else None


def _engine(
    fields: Fields, options: Options, endpoint: EndpointOption | None, model: ModelRef | None
) -> EngineSettings | None:
    engine = fields.child("engine")
    name = _engine_name(engine, options, endpoint)
    most = model.context_length if model else None
    context_length = engine.integer("context_length", None, lowest=LOWEST_CONTEXT)
    if context_length is not None and most is not None and context_length > most:
        message = f"The model reads at most {most:,} tokens; use {most} or less."
        engine.refuse("context_length", "above_model_context", message)
    concurrency = engine.integer("max_concurrency", 16, lowest=1, highest=MOST_CONCURRENCY)
    prefix_caching = engine.boolean("prefix_caching", True)
    simulator = _simulator(engine, name)
    engine.finish()
    if name is None:
        return None
    chosen = context_length if context_length is not None else min(most or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
    return EngineSettings(name, chosen, concurrency or 16, prefix_caching, simulator)


def _engine_name(engine: Fields, options: Options, endpoint: EndpointOption | None) -> str | None:
    simulated = endpoint is not None and endpoint.simulated
    name = engine.text("name", "simulator" if simulated else "vllm", longest=40) or ""
    availability = options.engines.get(name)
    if availability is None:
        message = f"There is no engine {name!r}. Engines: {_listed(options.engines)}."
        engine.refuse("name", "unknown_engine", message)
        return None
    if availability != "available":
        why = "is not available yet" if availability == "coming_soon" else "needs a licence that is not installed"
        ready = _listed(key for key, value in options.engines.items() if value == "available")
        engine.refuse("name", "engine_unavailable", f"{name} {why}. Use one of: {ready}.")
    elif simulated and name != "simulator":
        message = (
            f"The GPUs of this endpoint's cluster are declared, not real, so {name} cannot run there."
            ' Use "simulator", or an endpoint whose cluster has GPUs.'
        )
        engine.refuse("name", "engine_unavailable", message)
    return name


def _simulator(engine: Fields, name: str | None) -> SimulatorSettings | None:
    fields = engine.optional_child("simulator")
    if name != "simulator":
        if fields is not None:
            message = 'These settings belong to the simulator: remove them, or use engine.name "simulator".'
            engine.refuse("simulator", "not_applicable", message)
        return None
    if fields is None:
        return SimulatorSettings()
    usual = SimulatorSettings()
    settings = SimulatorSettings(
        download_seconds=fields.number("download_seconds", usual.download_seconds, lowest=0, highest=3600),
        initialize_seconds=fields.number("initialize_seconds", usual.initialize_seconds, lowest=0, highest=3600),
        ttft_ms=fields.number("ttft_ms", usual.ttft_ms, lowest=0, highest=60_000),
        itl_ms=fields.number("itl_ms", usual.itl_ms, lowest=0, highest=10_000),
        fail=fields.choice("fail", specs.FAULTS, nullable=True),
    )
    fields.finish()
    return settings


def _gpu(
    fields: Fields,
    options: Options,
    endpoint: EndpointOption | None,
    model: ModelRef | None,
    engine: EngineSettings | None,
) -> tuple[str, int] | None:
    """The GPU type and the count per replica, as asked for or the smallest that will do."""
    gpu = fields.child("gpu")
    type_id = gpu.text("type", None, longest=60) if gpu.has("type") else None
    count = gpu.integer("count", None, lowest=1)
    gpu.finish()
    if type_id is not None:
        type_id, count = _without_alias(gpu, type_id, count)
    if endpoint is None or not _is_in_cluster(gpu, type_id, count, options, endpoint):
        return None
    needed_gib = 0.0
    if model and engine and engine.name != "simulator":
        needed_gib = model.weight_bytes * MEMORY_PER_WEIGHTS / GIB + MEMORY_BESIDE_GIB
    if type_id is not None and count is not None:
        return type_id, count
    return _smallest(gpu, type_id, count, needed_gib, options, endpoint)


def _without_alias(gpu: Fields, type_id: str, count: int | None) -> tuple[str, int | None]:
    match = _PREDIBASE.fullmatch(type_id)
    if not match or match[1] not in PREDIBASE_TYPES:
        return type_id, count
    said = int(match[2])
    if count is not None and count != said:
        gpu.refuse("count", "contradiction", f"{type_id} means {said} GPUs; remove gpu.count or send {said}.")
    return PREDIBASE_TYPES[match[1]], said


def _is_in_cluster(
    gpu: Fields, type_id: str | None, count: int | None, options: Options, endpoint: EndpointOption
) -> bool:
    there = _listed(endpoint.gpus) or "none"
    if type_id is not None and type_id not in options.gpu_memory_gib:
        gpu.refuse("type", "unknown_gpu", f"There is no GPU type {type_id!r}. This cluster has: {there}.")
        return False
    if type_id is not None and not endpoint.gpus.get(type_id):
        message = f"The cluster of endpoint {endpoint.name!r} has no {type_id}. It has: {there}."
        gpu.refuse("type", "not_in_cluster", message)
        return False
    most = endpoint.gpus[type_id] if type_id is not None else max(endpoint.gpus.values(), default=0)
    if count is not None and count > most:
        what = type_id or "GPUs of one type"
        gpu.refuse("count", "above_maximum", f"The cluster has {most} × {what}; use {most} or less.")
        return False
    return True


def _smallest(
    gpu: Fields, type_id: str | None, count: int | None, needed_gib: float, options: Options, endpoint: EndpointOption
) -> tuple[str, int] | None:
    """The least memory that holds `needed_gib`, among powers of two of what the cluster has."""
    fitting = [
        (options.gpu_memory_gib[one] * number, number, one)
        for one, has in endpoint.gpus.items()
        if type_id in (None, one)
        for number in ([count] if count else [2**power for power in range(has.bit_length())])
        if number <= has and options.gpu_memory_gib[one] * number >= needed_gib
    ]
    if fitting:
        _, number, one = min(fitting)
        return one, number
    message = (
        f"Nothing there holds the {needed_gib:.0f} GiB that this model needs; choose gpu.type and gpu.count yourself."
    )
    gpu.refuse("type" if type_id is None else "count", "required", message)
    return None


def _listed(names: Any) -> str:
    return ", ".join(sorted(names))
