"""The header of a deployment's pages: what it runs, on what, and where it is called."""

from __future__ import annotations

from dataclasses import dataclass

from deployments.config.deployment_spec import RevisionSpec
from deployments.engines.registry import ENGINES
from deployments.models import Deployment


@dataclass(frozen=True)
class DeploymentHeader:
    """`spec` is the configuration of the revision in force. Reads no rows but those of `deployment`."""

    deployment: Deployment
    spec: RevisionSpec

    @property
    def simulated(self) -> bool:
        return self.deployment.endpoint.cluster.simulated or self.spec.engine.name == "simulator"

    @property
    def gpus(self) -> str:
        return f"{self.spec.gpu_count} × {self.deployment.gpu_type.title}"

    @property
    def engine_title(self) -> str:
        return ENGINES[self.spec.engine.name].title

    @property
    def base_url(self) -> str:
        return self.deployment.endpoint.api_url


def make_header(deployment: Deployment) -> DeploymentHeader:
    assert deployment.revision, "every deployment has its first revision from the start"
    return DeploymentHeader(deployment, RevisionSpec.from_json(deployment.revision.spec))
