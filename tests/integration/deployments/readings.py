"""Reads of a deployment, its replicas, events and routes, for assertions."""

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
    rows = store.hgetall(contract.replicas_key(str(deployment.pk))).items()
    return [contract.ReplicaRecord.from_text(name.decode(), text.decode()) for name, text in rows]


def a_gateway_is_alive(store):
    """For an hour of Redis's own time, as slow machines take long for what is virtual time in a test."""
    store.set(contract.EPOCH, "one")
    seconds, _ = store.time()
    store.zadd(contract.GATEWAYS, {"g1": seconds + 3600})


def a_request_arrives(store, deployment):
    """What `admit` notes of a request that finds nothing to serve it."""
    store.hset(contract.load_key(str(deployment.pk)), contract.WAKE, "1")


def requests_wait(store, deployment, count, seconds=0.0):
    """The gateway holds `count` requests, the oldest for so long."""
    now, _ = store.time()
    waiting = contract.Waiting(count, now - seconds)
    store.hset(contract.load_key(str(deployment.pk)), contract.waiting_field("g1"), waiting.to_json())


def requests_run(store, deployment, replica, count):
    store.hset(contract.slots_key(str(deployment.pk)), str(replica.pk), count)
