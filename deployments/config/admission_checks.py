"""Checks a resolved configuration against what may be chosen now, what is in force, and who asks. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from deployments.config.available_options import EndpointOption, Options
from deployments.config.configuration import Configuration, Range
from deployments.config.resolve import GIB, needed_gib
from deployments.config.schema_validation import unusable_engine
from deployments.config.settings_index import SETTINGS
from deployments.engines.registry import ENGINES
from deployments.schema.errors import FieldError
from deployments.schema.types import CHOSEN_IF_ABSENT

GB = 10**9
OPERATORS_ONLY = tuple(path for path, declared in SETTINGS.items() if declared.setting.operators_only)


def check(configuration: Configuration, options: Options, current: Configuration | None = None) -> list[FieldError]:
    """Everything that cannot be chosen. What is in force (`current`) stays valid, whatever may be chosen today."""
    errors: list[FieldError] = []
    endpoint = options.endpoints.get(configuration.endpoint)
    if endpoint is None:
        known = ", ".join(sorted(options.endpoints)) or "none yet"
        message = f"There is no endpoint {configuration.endpoint!r}. Endpoints: {known}."
        errors.append(FieldError("endpoint", "unknown_endpoint", message))
    if configuration.model.id not in options.models:
        message = f"The catalog has no model {configuration.model.id!r}; GET /api/v1/models lists them."
        errors.append(FieldError("model.id", "unknown_model", message))
    if current is None or configuration.engine.name != current.engine.name:
        errors += _check_engine(configuration, options, endpoint)
    errors += _check_context_length(configuration, options)
    errors += _check_adapters(configuration)
    if endpoint and (current is None or configuration.gpu != current.gpu):
        errors += _check_gpu(configuration, options, endpoint)
    errors += _check_autoscaling(configuration, options, current)
    if current:
        wrong = {error.field for error in errors}
        errors += [error for error in immutable_changes(configuration, current) if error.field not in wrong]
    return errors


def operator_settings(
    configuration: Configuration, current: Configuration | None, operators_only: Collection[str] = OPERATORS_ONLY
) -> list[FieldError]:
    """An error for each setting of operators that was sent with another value than the one in force or, for a new
    deployment, than the default. `configuration` is not resolved yet: what was not sent is still open."""
    message = "Only operators can change this. Omit it."
    errors = []
    for path in operators_only:
        value = _value_at(configuration, path)
        usual = _value_at(current, path) if current else SETTINGS[path].default
        if value != usual and value is not CHOSEN_IF_ABSENT:
            errors.append(FieldError(path, "operators_only", message))
    return errors


def immutable_changes(configuration: Configuration, current: Configuration) -> list[FieldError]:
    """An error for each setting that differs from the one in force and never changes."""
    return [
        FieldError(path, "immutable", declared.setting.immutable)
        for path, declared in SETTINGS.items()
        if declared.setting.immutable and _value_at(configuration, path) != _value_at(current, path)
    ]


def _value_at(configuration: Configuration, path: str) -> Any:
    value: Any = configuration
    for name in path.split("."):
        value = getattr(value, name, None)
    return value


def _check_engine(
    configuration: Configuration, options: Options, endpoint: EndpointOption | None
) -> Iterator[FieldError]:
    engine = configuration.engine
    if options.engines.get(engine.name) != "available":
        yield unusable_engine(engine.name, options)
    elif endpoint and endpoint.simulated and engine.name != "simulator":
        message = (
            "The GPUs of this endpoint's cluster are simulated, so"
            f" {ENGINES[engine.name].title} cannot run there."
            f" Use {ENGINES['simulator'].title}, or an endpoint whose cluster has GPUs."
        )
        yield FieldError("engine.name", "engine_unavailable", message)


def _check_context_length(configuration: Configuration, options: Options) -> Iterator[FieldError]:
    model = options.models.get(configuration.model.id)
    if model and configuration.engine.context_length > model.context_length:
        message = f"The model supports at most {model.context_length:,} tokens. Use {model.context_length:,} or less."
        yield FieldError("engine.context_length", "above_model_context", message)


def _check_adapters(configuration: Configuration) -> Iterator[FieldError]:
    names: set[str] = set()
    for index, adapter in enumerate(configuration.adapters):
        if adapter.name in names:
            message = f"Another adapter already has the name {adapter.name!r}. Choose another name."
            yield FieldError(f"adapters.{index}.name", "name_taken", message)
        names.add(adapter.name)
        if adapter.revision and not ENGINES[configuration.engine.name].pins_adapters:
            title = ENGINES[configuration.engine.name].title
            message = (
                f"{title} loads the default branch only: remove this, or name a repository that contains the version."
            )
            yield FieldError(f"adapters.{index}.revision", "not_applicable", message)


def _check_gpu(configuration: Configuration, options: Options, endpoint: EndpointOption) -> Iterator[FieldError]:
    gpu = configuration.gpu
    available = options.describe_gpus(endpoint)
    if gpu.type is not None and gpu.type not in options.gpu_memory_gib:
        message = f"There is no GPU type {gpu.type!r}. This cluster has: {available}."
        yield FieldError("gpu.type", "unknown_gpu", message)
        return
    if gpu.type is not None and not endpoint.gpus.get(gpu.type):
        message = (
            f"The cluster of endpoint {endpoint.name!r} has no {options.gpu_title(gpu.type)}. It has: {available}."
        )
        yield FieldError("gpu.type", "not_in_cluster", message)
        return
    most = endpoint.gpus[gpu.type] if gpu.type is not None else max(endpoint.gpus.values(), default=0)
    if gpu.count is not None and gpu.count > most:
        what = options.gpu_title(gpu.type) if gpu.type else "GPUs of one type"
        yield FieldError("gpu.count", "above_maximum", f"The cluster has {most} × {what}; use {most} or less.")
    elif gpu.type is None or gpu.count is None:
        model = options.models.get(configuration.model.id)
        needed = f"the {needed_gib(model) * GIB / GB:.0f} GB that this model needs" if model else "this model"
        message = f"Nothing there holds {needed}; choose the GPU type and how many a replica has."
        yield FieldError("gpu.type" if gpu.type is None else "gpu.count", "required", message)


def _check_autoscaling(
    configuration: Configuration, options: Options, current: Configuration | None
) -> Iterator[FieldError]:
    autoscaling = configuration.autoscaling
    if not isinstance(autoscaling, Range):
        return
    if autoscaling.max_replicas < autoscaling.min_replicas:
        message = f"Use {autoscaling.min_replicas} or more: the maximum cannot be below the minimum."
        yield FieldError("autoscaling.max_replicas", "below_minimum", message)
    for path, declared in SETTINGS.items():
        value = _value_at(configuration, path)
        if declared.setting.floor and value is not None:
            lowest = getattr(options, declared.setting.floor)
            if value < lowest and (current is None or value != _value_at(current, path)):
                yield FieldError(path, "below_minimum", f"Use {lowest:,} or more.")
