"""Two organizations with people of every role and their keys, a cluster, a catalog: what API tests act in."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.test import Client

from accounts import services as accounts
from accounts.models import ApiKey, Organization, User
from accounts.roles import Role
from deployments.models import CatalogModel, Cluster, ClusterGpu, Deployment, Endpoint, GpuType, Replica, ReplicaPhase
from deployments.states import DeploymentStatus, ReplicaState
from tests.integration.api import conformance
from tests.integration.api.conformance import DOCUMENT

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
BODY: dict[str, Any] = {"name": "chat", "model": {"source": "catalog", "id": "small"}}
PASSWORD = "correct horse battery"


@dataclass
class Tenant:
    """An organization; `people` by role, `secrets` of a key of all scopes by role, `key_ids` of those keys."""

    organization: Organization
    people: dict[str, User] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    key_ids: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """One method of one path, as the OpenAPI document has it."""

    id: str
    method: str
    path: str
    has_body: bool

    @property
    def address(self) -> str:
        return self.path.replace("{id}", "chat").replace("{replica}", str(UUID(int=0)))


OPERATIONS = [
    Operation(operation["operationId"], method.upper(), path, "requestBody" in operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


class Api:
    """Calls the API with one key; answers are Django's, with `.json()`, and conform to the OpenAPI document."""

    def __init__(self, secret: str | None) -> None:
        self.client = Client(raise_request_exception=False)
        self.headers = {"Authorization": f"Bearer {secret}"} if secret else {}

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        content = "" if body is None else body if isinstance(body, str | bytes) else json.dumps(body)
        content_type = headers.pop("content_type", "application/json")
        address = path if path.startswith("/api/") else f"/api/v1{path}"
        answer = self.client.generic(method, address, content, content_type, headers=self.headers | headers)
        conformance.check(method, address, answer)
        return answer

    def get(self, path: str, **headers: str) -> Any:
        return self("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self("POST", path, body, **headers)

    def delete(self, path: str, **headers: str) -> Any:
        return self("DELETE", path, **headers)


GPUS = (("l40s-48gb", 48, 8), ("h100-sxm-80gb", 80, 2))


def make_cluster(gpus: Iterable[tuple[str, int, int]] = GPUS) -> Cluster:
    """Declared GPUs (type, GB, how many) behind the endpoint "default"; eight L40S and two H100."""
    cluster = Cluster.objects.create(name="declared", driver=Cluster.Driver.MEMORY, simulated=True)
    for name, memory, count in gpus:
        gpu_type = GpuType.objects.create(
            id=name,
            title=name.upper(),
            vendor="NVIDIA",
            memory_gb=memory,
            memory_gib=Decimal(memory) * 93 / 100,
        )
        ClusterGpu.objects.create(cluster=cluster, gpu_type=gpu_type, count=count)
    Endpoint.objects.create(name="default", base_url="http://127.0.0.1:8001", cluster=cluster)
    return cluster


def make_model(name: str, context_length: int) -> CatalogModel:
    return CatalogModel.objects.create(
        id=name,
        title=name.title(),
        family="small",
        publisher="lab",
        repository=f"lab/{name}",
        parameters=10**9,
        weight_bytes=2 * 10**9,
        dtype="bfloat16",
        context_length=context_length,
        architecture={"layers": 16},
        license="apache-2.0",
        source_url=f"https://example.com/{name}",
        sourced_at=date(2026, 11, 1),
    )


def make_user(email: str, **fields: Any) -> User:
    user = User(email=email, **fields)
    user.set_unusable_password()
    user.save()
    return user


def make_key(organization: Organization, user: User, *scopes: str, **changes: Any) -> tuple[ApiKey, str]:
    values: dict[str, Any] = {"name": f"key of {user.email}", "expires_at": None, "deployments": None, "now": NOW}
    return accounts.create_key(organization=organization, user=user, scopes=scopes, **values | changes)


def make_tenant(slug: str) -> Tenant:
    """Everybody's key has all scopes, so that only the role decides."""
    tenant = Tenant(accounts.create_organization(slug=slug, name=slug.title()))
    for role in Role:
        user = make_user(f"{role}@{slug}.example.com")
        accounts.set_role(organization=tenant.organization, user=user, role=role)
        key, secret = make_key(tenant.organization, user, "inference", "manage")
        tenant.people[role], tenant.secrets[role], tenant.key_ids[role] = user, secret, str(key.pk)
    return tenant


def make_replica(deployment: Deployment, state: ReplicaState, **changes: Any) -> Replica:
    """A replica with one phase."""
    assert deployment.revision
    values = {"created_at": NOW, "state_since": NOW, "node": "node-1", "gpu_indices": [0]} | changes
    count = deployment.replicas.count()
    replica = Replica.objects.create(
        organization=deployment.organization,
        deployment=deployment,
        revision=deployment.revision,
        cluster=deployment.endpoint.cluster,
        gpu_type=deployment.gpu_type,
        gpu_count=1,
        name=f"{deployment.name}-{deployment.pk.hex[:8]}-{count}",
        state=state,
        **values,
    )
    ReplicaPhase.objects.create(
        organization=deployment.organization, replica=replica, name="REQUESTING_GPU", started_at=NOW
    )
    return replica


def end(deployment_id: str, status: DeploymentStatus = DeploymentStatus.TERMINATED) -> None:
    """As the reconciler leaves it once nothing is left in the cluster."""
    Deployment.objects.filter(pk=deployment_id).update(status=status, phase="")
