"""The values in force of a deployment, as pairs of name and words for its page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from console.components.formats import format_count, format_gib
from console.pages.overview import Overview
from deployments.models import Deployment
from deployments.specs import SimulatorSettings

Line = tuple[str, str]


@dataclass(frozen=True)
class Configuration:
    """In groups: what a change of restarts (`revision`), and what acts at once."""

    revision: list[Line]
    at_once: list[Line]
    fixed: list[Line]


def configuration(overview: Overview) -> Configuration:
    """Every value in force."""
    deployment, creator = overview.deployment, overview.deployment.created_by
    return Configuration(
        [*_model(overview), *engine(overview)],
        [*autoscaling(deployment), ("Description", deployment.description or "–"), ("Labels", _labels(deployment))],
        [
            ("Name", deployment.name),
            ("Endpoint", f"{deployment.endpoint.name}, cluster {deployment.endpoint.cluster.name}"),
            ("GPU type", deployment.gpu_type.title),
            ("Created", f"{deployment.created_at:%Y-%m-%d %H:%M:%S} UTC by {creator or 'the console'}"),
        ],
    )


def _model(overview: Overview) -> Iterator[Line]:
    spec = overview.spec
    yield "Model", overview.model_title
    yield "Repository", spec.model.repository
    yield (
        "Weights",
        f"{format_gib(spec.model.weight_bytes)} GiB" + (f", {overview.model.dtype}" if overview.model else ""),
    )
    for one in spec.adapters:
        yield f"Adapter {one.name}", one.repository + (f" at {one.revision}" if one.revision else "")


def engine(overview: Overview) -> list[Line]:
    """What the engine runs with."""
    chosen = overview.spec.engine
    return [
        ("Engine", overview.engine_title),
        ("Context length", f"{chosen.context_length:,} tokens"),
        ("Max concurrency", f"{chosen.max_concurrency:,} requests per replica"),
        ("Prefix caching", "on" if chosen.prefix_caching else "off"),
        *(_simulator(chosen.simulator) if chosen.simulator else ()),
        ("GPUs per replica", overview.gpus),
    ]


def autoscaling(deployment: Deployment) -> list[Line]:
    """The range with its delays, or the fixed number."""
    if not deployment.autoscaling_enabled:
        return [("Replicas", f"{deployment.max_replicas}, fixed: autoscaling is off")]
    low, high, delay = deployment.min_replicas, deployment.max_replicas, deployment.scale_down_delay_seconds
    lines = [("Replicas", f"{low} to {format_count(high, 'replica')}"), ("Scale-down delay", f"{delay:,} s")]
    if low:
        return [*lines, ("Sleeps", "never, as at least one replica stays")]
    after = deployment.sleep_after_seconds
    return [*lines, ("Sleeps", f"after {delay if after is None else after:,} s without a request")]


def _labels(deployment: Deployment) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(deployment.labels.items())) or "–"


def _simulator(settings: SimulatorSettings) -> Iterator[Line]:
    yield "Simulated start", f"{settings.download_seconds:g} s download, {settings.initialize_seconds:g} s initializing"
    yield "Simulated latency", f"TTFT {settings.ttft_ms:g} ms, ITL {settings.itl_ms:g} ms"
    if settings.fail:
        yield "Simulated fault", settings.fail.replace("_", " ")
