"""A replica that the cluster has no record of, and operators who declare it gone."""

import pytest

from accounts.models import User
from accounts.roles import Role
from deployments.models import Cluster, Deployment, Replica
from deployments.states import ReplicaState
from tests.integration.api import world
from tests.integration.api.world import BODY, Api

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def by_operator(operator: tuple[User, str]) -> Api:
    return Api(operator[1])


@pytest.fixture
def replica(api: Api) -> Replica:
    api.post("/deployments", BODY)
    return world.make_replica(Deployment.objects.get(), ReplicaState.UNKNOWN)


def address(replica: Replica) -> str:
    return f"/deployments/{replica.deployment_id}/replicas/{replica.pk}/declare-gone"


def test_an_operator_declares_an_unknown_replica_gone_once(by_operator: Api, replica: Replica) -> None:
    first = by_operator.post(address(replica))
    assert (first.status_code, first.json()["state"]) == (202, "UNKNOWN")
    assert first.json()["gone_declared_at"] is not None
    assert by_operator.post(address(replica)).json() == first.json()
    (listed,) = by_operator.get(f"/deployments/{replica.deployment_id}/replicas").json()["data"]
    assert listed == first.json()


def test_an_owner_of_the_organization_is_refused(northwind: world.Tenant, replica: Replica) -> None:
    answer = Api(northwind.secrets[Role.OWNER]).post(address(replica))
    assert (answer.status_code, answer.json()["type"].rpartition("#")[2]) == (403, "right-missing")
    replica.refresh_from_db()
    assert replica.gone_declared_at is None


def test_what_is_not_unknown_cannot_be_declared_gone(by_operator: Api, replica: Replica) -> None:
    ready = world.make_replica(replica.deployment, ReplicaState.READY)
    answer = by_operator.post(address(ready))
    assert (answer.status_code, answer.json()["type"].rpartition("#")[2]) == (409, "not-now")
    assert "READY" in answer.json()["detail"]


def test_an_unknown_id_names_no_replica(by_operator: Api, replica: Replica) -> None:
    assert by_operator.post(address(replica).replace(str(replica.pk), "nobody")).status_code == 404


def test_a_simulator_on_real_gpus_counts_as_simulated(api: Api, replica: Replica) -> None:
    Cluster.objects.update(simulated=False)
    shown = {}
    for engine in ("simulator", "vllm"):
        replica.revision.spec["engine"] = {"name": engine}
        replica.revision.save()
        (listed,) = api.get(f"/deployments/{replica.deployment_id}/replicas").json()["data"]
        shown[engine] = listed["simulated"]
    assert shown == {"simulator": True, "vllm": False}
