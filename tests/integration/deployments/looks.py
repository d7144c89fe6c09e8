"""What tests read of a deployment, its events and its routes."""

from deployments.models import DeploymentEvent
from gateway import contract


def status(deployment):
    deployment.refresh_from_db()
    return deployment.status


def states(deployment):
    return list(deployment.replicas.order_by("created_at", "id").values_list("state", flat=True))


def kinds(deployment):
    return list(DeploymentEvent.objects.filter(deployment=deployment).order_by("id").values_list("kind", flat=True))


def routes(store, deployment):
    rows = store.hgetall(contract.replicas_key(str(deployment.pk))).values()
    return [contract.ReplicaRecord.from_json(row) for row in rows]


def a_gateway_is_alive(store):
    store.set(contract.EPOCH, "one")
    seconds, _ = store.time()
    store.zadd(contract.GATEWAYS, {"g1": seconds})
