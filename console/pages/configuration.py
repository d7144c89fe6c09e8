"""Every value in force of a deployment, as pairs of name and words for its page."""

from __future__ import annotations

from collections.abc import Iterator

from console.pages.figures import gib
from console.pages.overview import Overview
from deployments.specs import SimulatorSettings


def lines(overview: Overview) -> list[tuple[str, str]]:
    deployment, spec = overview.deployment, overview.spec
    engine, creator = spec.engine, overview.deployment.created_by
    return [
        ("Description", deployment.description or "–"),
        ("Model", overview.model_title),
        ("Repository", spec.model.repository),
        ("Weights", f"{gib(spec.model.weight_bytes)} GiB" + (f", {overview.model.dtype}" if overview.model else "")),
        ("Engine", overview.engine_title),
        ("Context length", f"{engine.context_length:,} tokens"),
        ("Max concurrency", f"{engine.max_concurrency:,} requests per replica"),
        ("Prefix caching", "on" if engine.prefix_caching else "off"),
        *(_simulator(engine.simulator) if engine.simulator else ()),
        ("GPUs per replica", overview.gpus),
        ("Replicas", f"{deployment.desired_replicas}, fixed"),
        ("Endpoint", f"{deployment.endpoint.name}, cluster {deployment.endpoint.cluster.name}"),
        ("Labels", ", ".join(f"{name}={value}" for name, value in sorted(deployment.labels.items())) or "–"),
        ("Created", f"{deployment.created_at:%Y-%m-%d %H:%M:%S} UTC by {creator or 'the console'}"),
    ]


def _simulator(settings: SimulatorSettings) -> Iterator[tuple[str, str]]:
    yield "Simulated start", f"{settings.download_seconds:g} s download, {settings.initialize_seconds:g} s initializing"
    yield "Simulated latency", f"TTFT {settings.ttft_ms:g} ms, ITL {settings.itl_ms:g} ms"
    if settings.fail:
        yield "Simulated fault", settings.fail.replace("_", " ")
