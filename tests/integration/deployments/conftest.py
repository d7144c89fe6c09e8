"""A cluster with two GPU types, an organization with a user, a small catalog, and an empty Redis."""

import uuid
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
import redis

from accounts import services as accounts
from accounts.models import Organization, User
from accounts.roles import Role
from deployments import queries, services, worker_heartbeat
from deployments.config.available_options import EndpointOption, Options
from deployments.config.build_spec import parse
from deployments.config.normalize import merge
from deployments.models import CatalogModel, Cluster, ClusterGpu, Deployment, Endpoint, GpuType, Replica
from deployments.reconciler import reconcile_pass
from deployments.reconciler.execute import Failpoint
from deployments.states import ReplicaState
from tests.integration.deployments.scripted_cluster import ScriptedCluster

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


@pytest.fixture
def options(cluster: Cluster, model: CatalogModel) -> Options:
    endpoint = EndpointOption("default", True, {"l40s-48gb": 8, "h100-sxm-80gb": 2})
    return Options(
        {"small": queries.model_ref(model)},
        {"default": endpoint},
        {"l40s-48gb": 44.7, "h100-sxm-80gb": 74.5},
        {"simulator": "available", "vllm": "available"},
    )


class Console:
    """A console on a scripted cluster: people press buttons, time passes, the reconciler runs."""

    def __init__(self, organization: Organization, user: User, options: Options) -> None:
        self.organization, self.user, self.options = organization, user, options
        self.cluster = ScriptedCluster(NOW)
        self.clusters: dict[uuid.UUID, ScriptedCluster] = {}  # other ones, by id

    @property
    def now(self) -> datetime:
        return self.cluster.now

    def driver(self, cluster: Cluster) -> ScriptedCluster:
        return self.clusters.get(cluster.pk, self.cluster)

    def create(self, name: str = "chat", *, replicas: int = 1, gpu: str = "l40s-48gb", count: int = 1) -> Deployment:
        body = {
            "name": name,
            "model": {"source": "catalog", "id": "small"},
            "gpu": {"type": gpu, "count": count},
            "autoscaling": {"enabled": False, "replicas": replicas},
        }
        spec = parse(body, self.options)
        return services.create_deployment(
            organization=self.organization, spec=spec, body=body, by=self.user, now=self.now
        )[0]

    def create_range(self, least: int, most: int, name: str = "chat", **rest: object) -> Deployment:
        """A deployment that scales, after 300 s without need downwards or to sleep."""
        body = {"name": name, "model": {"source": "catalog", "id": "small"}, **rest}
        body["autoscaling"] = {"min_replicas": least, "max_replicas": most}
        spec = parse(body, self.options)
        return services.create_deployment(
            organization=self.organization, spec=spec, body=body, by=self.user, now=self.now
        )[0]

    def edit(self, deployment: Deployment, **changes: object) -> None:
        deployment.refresh_from_db()
        body = merge(queries.spec_of(deployment).to_json(), changes)
        spec = parse(body, self.options)
        services.edit(deployment, spec=spec, expected_version=None, by=self.user, now=self.now)

    def terminate(self, deployment: Deployment) -> None:
        services.terminate(deployment, by=self.user, now=self.now)

    def tick(self, seconds: float = 1.0, times: int = 1, failpoint: Failpoint = reconcile_pass.no_failpoint) -> None:
        for _ in range(times):
            self.cluster.pass_time(seconds)
            reconcile_pass.reconcile(self.now, self.driver, failpoint)

    def tick_late(self, seconds: float) -> None:
        """The workers live all the time, but the next pass comes only after so long."""
        for _ in range(round(seconds)):
            worker_heartbeat.record(self.cluster.pass_time(1))
        reconcile_pass.reconcile(self.now, self.driver)

    def run_all(self, deployment: Deployment) -> list[Replica]:
        """Until it is ready."""
        self.tick()
        self.cluster.reach(ReplicaState.READY)
        self.tick()
        return list(deployment.replicas.filter(state=ReplicaState.READY))

    def run(self, deployment: Deployment) -> Replica:
        (replica,) = self.run_all(deployment)
        return replica


@pytest.fixture
def console(organization: Organization, user: User, options: Options) -> Console:
    return Console(organization, user, options)
