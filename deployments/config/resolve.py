"""Fills in what a configuration leaves open, from the environment. Pure."""

from __future__ import annotations

from deployments.config.available_options import EndpointOption, ModelRef, Options
from deployments.config.configuration import Configuration, Range

DEFAULT_CONTEXT_LENGTH = 8192
DEFAULT_SCALE_DOWN_DELAY_SECONDS = 300
GIB = 2**30

# Memory for a model: the weights with room for the KV cache and activations, and the runtime of the engine.
MEMORY_PER_WEIGHTS, RUNTIME_GIB = 1.2, 2.0


def resolve(configuration: Configuration, options: Options) -> Configuration:
    """Chooses context length, GPU type and count, and scale-down delay. A GPU type or count stays open where nothing of
    the endpoint's cluster will do."""
    model = options.models.get(configuration.model.id)
    endpoint = options.endpoints.get(configuration.endpoint)
    changes: dict[str, object] = {}
    engine, gpu, autoscaling = configuration.engine, configuration.gpu, configuration.autoscaling
    if engine.context_length is None:
        longest = min(model.context_length if model else DEFAULT_CONTEXT_LENGTH, DEFAULT_CONTEXT_LENGTH)
        changes["engine"] = engine.model_copy(update={"context_length": longest})
    if isinstance(autoscaling, Range) and autoscaling.scale_down_delay_seconds is None:
        delay = max(DEFAULT_SCALE_DOWN_DELAY_SECONDS, options.delay_floor_seconds)
        changes["autoscaling"] = autoscaling.model_copy(update={"scale_down_delay_seconds": delay})
    if endpoint and (gpu.type is None or gpu.count is None):
        needed = needed_gib(model) if model and engine.name != "simulator" else 0.0
        if smallest := smallest_gpus(gpu.type, gpu.count, needed, options, endpoint):
            changes["gpu"] = gpu.model_copy(update=dict(zip(("type", "count"), smallest, strict=True)))
    return configuration.model_copy(update=changes)


def needed_gib(model: ModelRef) -> float:
    return model.weight_bytes * MEMORY_PER_WEIGHTS / GIB + RUNTIME_GIB


def smallest_gpus(
    type_id: str | None, count: int | None, needed_gib: float, options: Options, endpoint: EndpointOption
) -> tuple[str, int] | None:
    """(type, count) with the least memory that is at least `needed_gib`; counts are powers of two unless given."""
    fitting = [
        (options.gpu_memory_gib[candidate] * number, number, candidate)
        for candidate, available in endpoint.gpus.items()
        if type_id in (None, candidate) and candidate in options.gpu_memory_gib
        for number in ([count] if count else [2**power for power in range(available.bit_length())])
        if number <= available and options.gpu_memory_gib[candidate] * number >= needed_gib
    ]
    if not fitting:
        return None
    _, number, chosen = min(fitting)
    return chosen, number
