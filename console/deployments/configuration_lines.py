"""The configuration in force as pairs of name and value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from console.components.deployment_header import DeploymentHeader
from console.components.formats import format_count, format_gib
from deployments.models import CatalogModel, Deployment
from deployments.specs import SimulatorSettings

ConfigurationLine = tuple[str, str]


@dataclass(frozen=True)
class Configuration:
    """Every value in force: those whose change makes a new revision, those that change at once, and those that never
    change."""

    revision: list[ConfigurationLine]
    at_once: list[ConfigurationLine]
    fixed: list[ConfigurationLine]


def read_configuration(header: DeploymentHeader) -> Configuration:
    """One query."""
    deployment = header.deployment
    labels = ", ".join(f"{name}={value}" for name, value in sorted(deployment.labels.items()))
    created = f"{deployment.created_at:%Y-%m-%d %H:%M:%S} UTC by {deployment.created_by or 'the console'}"
    return Configuration(
        revision=[*_read_model(header), *list_engine_settings(header)],
        at_once=[
            *_list_autoscaling(deployment),
            ("Description", deployment.description or "–"),
            ("Labels", labels or "–"),
        ],
        fixed=[
            ("Name", deployment.name),
            ("Endpoint", f"{deployment.endpoint.name}, cluster {deployment.endpoint.cluster.name}"),
            ("GPU type", deployment.gpu_type.title),
            ("Created", created),
        ],
    )


def list_engine_settings(header: DeploymentHeader) -> list[ConfigurationLine]:
    engine = header.spec.engine
    return [
        ("Engine", header.engine_title),
        ("Context length", f"{engine.context_length:,} tokens"),
        ("Max concurrency", f"{engine.max_concurrency:,} requests per replica"),
        ("Prefix caching", "on" if engine.prefix_caching else "off"),
        *(_list_simulator_settings(engine.simulator) if engine.simulator else ()),
        ("GPUs per replica", header.gpus),
    ]


def _read_model(header: DeploymentHeader) -> Iterator[ConfigurationLine]:
    spec, model = header.spec, CatalogModel.objects.filter(pk=header.spec.model.id).first()
    yield "Model", model.title if model else spec.model.repository
    yield "Repository", spec.model.repository
    yield "Weights", f"{format_gib(spec.model.weight_bytes)} GiB" + (f", {model.dtype}" if model else "")
    for adapter in spec.adapters:
        revision = f" at {adapter.revision}" if adapter.revision else ""
        yield f"Adapter {adapter.name}", f"{adapter.repository}{revision}"


def _list_autoscaling(deployment: Deployment) -> list[ConfigurationLine]:
    if not deployment.autoscaling_enabled:
        return [("Replicas", f"{deployment.max_replicas}, fixed: autoscaling is off")]
    low, high, delay = deployment.min_replicas, deployment.max_replicas, deployment.scale_down_delay_seconds
    after = delay if deployment.sleep_after_seconds is None else deployment.sleep_after_seconds
    sleeps = "never, as at least one replica stays" if low else f"after {after:,} s without a request"
    return [
        ("Replicas", f"{low} to {format_count(high, 'replica')}"),
        ("Scale-down delay", f"{delay:,} s"),
        ("Sleeps", sleeps),
    ]


def _list_simulator_settings(settings: SimulatorSettings) -> Iterator[ConfigurationLine]:
    yield "Simulated start", f"{settings.download_seconds:g} s download, {settings.initialize_seconds:g} s initializing"
    yield "Simulated latency", f"TTFT {settings.ttft_ms:g} ms, ITL {settings.itl_ms:g} ms"
    if settings.fail:
        yield "Simulated fault", settings.fail.replace("_", " ")
