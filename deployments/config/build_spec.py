"""The way of every body from JSON to a `DeploymentSpec`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from deployments.config.admission_checks import check, operator_settings
from deployments.config.available_options import Options
from deployments.config.configuration import Configuration
from deployments.config.deployment_spec import DeploymentSpec
from deployments.config.normalize import normalize
from deployments.config.resolve import resolve
from deployments.config.schema_validation import validate
from deployments.schema.errors import FieldError, InvalidConfiguration


def parse(
    body: Any, options: Options, current: DeploymentSpec | None = None, *, is_operator: bool = False
) -> DeploymentSpec:
    """Read a deployment as people and programs send it; `current` is the configuration that an edit starts from.

    Raises `InvalidConfiguration` with everything that is wrong at once, in the order of the settings.
    """
    if not isinstance(body, Mapping):
        raise InvalidConfiguration([FieldError("", "wrong_type", "Send a JSON object here.")])
    options = _with_values_in_force(options, current) if current else options
    configuration, errors = validate(normalize(body, options), options)
    if configuration is not None:
        in_force = current.configuration if current else None
        if not is_operator:
            errors += operator_settings(configuration, in_force)
        configuration = resolve(configuration, options)
        # A check of a value that validation replaced says nothing, nor one of a model that could not be read.
        wrong = ["model" if error.field.startswith("model.") else error.field for error in errors]
        errors += [
            error
            for error in check(configuration, options, in_force)
            if not any(f"{error.field}.".startswith(f"{field}.") for field in wrong)
        ]
    if errors or configuration is None:
        order = list(Configuration.model_fields)
        sections = [error.field.partition(".")[0] for error in errors]
        places = [order.index(section) if section in order else len(order) for section in sections]
        raise InvalidConfiguration(
            error for _, _, error in sorted(zip(places, range(len(errors)), errors, strict=True))
        )
    # The order of adapters means nothing, so that another one is no other revision.
    adapters = tuple(sorted(configuration.adapters, key=lambda adapter: adapter.name))
    configuration = configuration.model_copy(update={"adapters": adapters})
    return DeploymentSpec(configuration, options.models[configuration.model.id])


def _with_values_in_force(options: Options, current: DeploymentSpec) -> Options:
    """The model as the deployment knows it, its engine and its GPUs stay choices of their own."""
    configuration = current.configuration
    endpoints = dict(options.endpoints)
    if endpoint := options.endpoints.get(configuration.endpoint):
        most = max(endpoint.gpus.get(configuration.gpu.type, 0), configuration.gpu.count)
        endpoints[endpoint.name] = replace(endpoint, gpus={**endpoint.gpus, configuration.gpu.type: most})
    return replace(
        options,
        models={**options.models, current.model.id: current.model},
        engines={**options.engines, configuration.engine.name: "available"},
        endpoints=endpoints,
    )
