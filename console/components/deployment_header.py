"""The header of a deployment's pages: what it runs, on what, and where it is called."""

from __future__ import annotations

from dataclasses import dataclass

from deployments.config.deployment_spec import RevisionSpec, UnreadableSpec
from deployments.engines.registry import ENGINES
from deployments.models import Deployment


@dataclass(frozen=True)
class DeploymentHeader:
    """`spec` is the configuration of the revision in force, None if this release cannot read it. Reads no rows but
    those of `deployment`."""

    deployment: Deployment
    spec: RevisionSpec | None

    @property
    def simulated(self) -> bool:
        is_simulator = self.spec is not None and self.spec.engine.name == "simulator"
        return self.deployment.endpoint.cluster.simulated or is_simulator

    @property
    def gpus(self) -> str:
        gpu = self.deployment.gpu_type.title
        return f"{self.spec.gpu_count} × {gpu}" if self.spec else gpu

    @property
    def repository(self) -> str:
        return self.spec.model.repository if self.spec else "Configuration cannot be read"

    @property
    def engine_title(self) -> str:
        return ENGINES[self.spec.engine.name].title if self.spec else "unknown engine"

    @property
    def base_url(self) -> str:
        return self.deployment.endpoint.api_url


def make_header(deployment: Deployment) -> DeploymentHeader:
    assert deployment.revision, "every deployment has its first revision from the start"
    try:
        spec = RevisionSpec.from_json(deployment.revision.spec)
    except UnreadableSpec:
        return DeploymentHeader(deployment, None)
    return DeploymentHeader(deployment, spec)
