"""A cluster with two GPU types, an organization with a user, a small catalog, and an empty Redis."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
import redis

from accounts import services as accounts
from accounts.models import Organization, User
from accounts.roles import Role
from deployments.models import CatalogModel, Cluster, ClusterGpu, Endpoint, GpuType

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def store(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url)


@pytest.fixture
def organization(store: redis.Redis, transactional_db: None) -> Organization:
    return accounts.create_organization(slug="northwind", name="Northwind")


@pytest.fixture
def user(organization: Organization) -> User:
    user = User.objects.create_user("ada@example.com", "correct horse battery")
    accounts.set_role(organization=organization, user=user, role=Role.ADMIN)
    return user


@pytest.fixture
def cluster(transactional_db: None) -> Cluster:
    """Eight L40S and two H100, declared, behind the endpoint "default"."""
    l40s = gpu_type("l40s-48gb", "L40S", 48)
    h100 = gpu_type("h100-sxm-80gb", "H100 SXM", 80)
    cluster = Cluster.objects.create(name="memory", driver=Cluster.Driver.MEMORY, simulated=True)
    ClusterGpu.objects.create(cluster=cluster, gpu_type=l40s, count=8)
    ClusterGpu.objects.create(cluster=cluster, gpu_type=h100, count=2)
    Endpoint.objects.create(name="default", base_url="http://127.0.0.1:1/v1", cluster=cluster)
    return cluster


def gpu_type(id: str, title: str, memory: int) -> GpuType:
    return GpuType.objects.create(
        id=id, title=title, vendor="NVIDIA", memory_gb=memory, memory_gib=Decimal(memory) * 93 / 100
    )


@pytest.fixture
def model(transactional_db: None) -> CatalogModel:
    return CatalogModel.objects.create(
        id="small",
        title="Small",
        family="small",
        publisher="lab",
        repository="lab/small",
        parameters=10**9,
        weight_bytes=2 * 10**9,
        dtype="bfloat16",
        context_length=8192,
        architecture={},
        license="apache-2.0",
        source_url="https://example.com/small",
        sourced_at=date(2026, 11, 1),
    )
