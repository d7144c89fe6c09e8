"""The configuration in force as pairs of name and value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from console.components.deployment_header import DeploymentHeader
from console.components.formats import format_count, format_gb
from console.deployments.configuration_diff import format_value
from deployments import queries
from deployments.config.configuration import Fixed, Range
from deployments.config.settings_index import SETTINGS, value_at
from deployments.models import CatalogModel, Deployment

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
    creator = deployment.created_by.email if deployment.created_by else "the console"
    created = f"{deployment.created_at.day} {deployment.created_at:%b %Y %H:%M:%S} UTC by {creator}"
    return Configuration(
        revision=[*_read_model(header), *list_engine_settings(header)],
        at_once=[
            *_list_autoscaling(deployment),
            ("Description", deployment.description or "–"),
            ("Labels", labels or "–"),
            *_list_limits(deployment),
        ],
        fixed=[
            ("Name", deployment.name),
            ("Endpoint", f"{deployment.endpoint.name}, cluster {deployment.endpoint.cluster.name}"),
            ("GPU type", deployment.gpu_type.title),
            ("Created", created),
        ],
    )


def list_engine_settings(header: DeploymentHeader) -> list[ConfigurationLine]:
    """What the engine runs with; a setting that is not set has the engine's own default. Empty if this release cannot
    read the configuration."""
    if header.spec is None:
        return []
    engine = header.spec.engine
    values = {"engine": engine.model_dump(mode="json")}
    lines = [("Engine", header.engine_title)]
    for declared in SETTINGS.values():
        if engine.name in declared.engines and declared.path != "engine.name":
            value = value_at(values, declared.path)
            unset = declared.setting.choice_titles.get("", "Engine's default")
            lines.append((declared.setting.title, unset if value is None else format_value(declared.path, value)))
    return [*lines, ("GPUs per replica", header.gpus)]


def _read_model(header: DeploymentHeader) -> Iterator[ConfigurationLine]:
    spec = header.spec
    if spec is None:
        yield "Configuration", "Cannot be read by this release of the console"
        return
    model = CatalogModel.objects.filter(pk=spec.model.id).first()
    yield "Model", model.title if model else spec.model.repository
    yield "Repository", spec.model.repository
    yield "Weights", f"{format_gb(spec.model.weight_bytes)} GB" + (f", {model.dtype}" if model else "")
    for adapter in spec.adapters:
        revision = f" at {adapter.revision}" if adapter.revision else ""
        yield f"Adapter {adapter.name}", f"{adapter.repository}{revision}"


def _list_autoscaling(deployment: Deployment) -> list[ConfigurationLine]:
    autoscaling = queries.autoscaling_of(deployment)
    if isinstance(autoscaling, Fixed):
        return [("Replicas", f"{autoscaling.replicas}, fixed: autoscaling is off")]
    lines = [("Replicas", f"{autoscaling.min_replicas} to {format_count(autoscaling.max_replicas, 'replica')}")]
    for name in Range.model_fields:
        path = f"autoscaling.{name}"
        if name == "sleep_after_seconds":
            lines.append((SETTINGS[path].setting.title, _format_sleep(autoscaling)))
        elif name not in ("enabled", "min_replicas", "max_replicas"):
            lines.append((SETTINGS[path].setting.title, format_value(path, getattr(autoscaling, name))))
    return lines


def _list_limits(deployment: Deployment) -> list[ConfigurationLine]:
    paths = {
        f"limits.{level}.{name}": value for level, fields in deployment.limits.items() for name, value in fields.items()
    }
    lines = [(SETTINGS[path].setting.title, format_value(path, value)) for path, value in paths.items()]
    return lines or [("Limits", "none")]


def _format_sleep(autoscaling: Range) -> str:
    if autoscaling.min_replicas:
        return "never, as at least one replica stays"
    after = autoscaling.sleep_after_seconds
    return f"{autoscaling.scale_down_delay_seconds if after is None else after:,} s without a request"
