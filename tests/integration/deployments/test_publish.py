"""What the gateways read in Redis, and what open pages are told."""

import pytest
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

from deployments import notifications, work_queue
from deployments.models import Deployment
from deployments.routing import publish
from deployments.states import ReplicaState
from gateway import contract
from tests.integration.deployments.readings import a_gateway_is_alive

pytestmark = pytest.mark.django_db(transaction=True)


def published(store):
    routes = {name: contract.RouteRecord.from_json(row) for name, row in store.hgetall(contract.ROUTES).items()}
    return sorted(route.name for route in routes.values())


def test_a_redis_that_restarted_empty_is_filled_by_the_next_full_publication(console, store):
    deployment = console.create()
    replica = console.run(deployment)
    store.flushdb()
    publish.publish_all()
    assert published(store) == ["chat"]
    (replica_id,) = store.hgetall(contract.replicas_key(str(deployment.pk)))
    assert replica_id.decode() == str(replica.pk)


def test_a_redis_that_loses_its_data_during_a_publication_is_not_marked_complete(console, store, monkeypatch):
    console.run(console.create())
    store.flushdb()
    store.set(contract.EPOCH, "one")
    compare = publish._compare_published

    def compare_and_lose(*arguments):
        compare(*arguments)
        store.flushdb()
        store.set(contract.EPOCH, "two")

    with monkeypatch.context() as losing:
        losing.setattr(publish, "_compare_published", compare_and_lose)
        publish.publish_all()
    assert not store.hexists(contract.PUBLISHED, contract.ROUTES_COMPLETE)
    publish.publish_all()
    assert (published(store), store.hexists(contract.PUBLISHED, contract.ROUTES_COMPLETE)) == (["chat"], True)


def test_a_full_publication_removes_what_should_not_be_there(console, store):
    deployment = console.create()
    console.run(deployment)
    store.hset(contract.ROUTES, "ghost", store.hget(contract.ROUTES, str(deployment.pk)))
    store.hset(contract.replicas_key(str(deployment.pk)), "ghost", contract.ReplicaRecord("ghost", "a:1", 1).to_text())
    publish.publish_all()
    assert published(store) == ["chat"]
    assert store.hlen(contract.replicas_key(str(deployment.pk))) == 1


def test_only_what_changed_is_announced(console, store):
    deployment = console.create()
    before = store.xlen(contract.CHANGES)
    publish.publish_all()
    publish.publish([deployment.pk])
    assert store.xlen(contract.CHANGES) == before
    console.run(deployment)
    assert store.xlen(contract.CHANGES) == before + 1
    assert store.xrevrange(contract.CHANGES, count=1)[0][1] == {b"deployment": str(deployment.pk).encode()}


def test_open_pages_are_told_which_deployment_changed(console):
    deployment = console.create()
    layer = get_channel_layer()

    async def receive(group):
        channel = await layer.new_channel()
        await layer.group_add(group, channel)
        await notifications._send([(group, {"type": "deployment.changed", "deployment_id": str(deployment.pk)})])
        return await layer.receive(channel)

    message = async_to_sync(receive)(f"deployment.{deployment.pk}")
    assert message == {"type": "deployment.changed", "deployment_id": str(deployment.pk)}
    notifications.notify_pages([deployment])


def test_wakeups_are_coalesced_into_one_message(console, store):
    console.create("first")
    console.create("second")
    assert store.llen("reconcile") == 1
    work_queue.acknowledge()
    work_queue.make_due(Deployment.objects.values_list("pk", flat=True), console.now)
    assert store.llen("reconcile") == 2


def test_a_wakeup_for_what_does_not_exist_does_nothing(console, store):
    work_queue.make_due(["00000000-0000-0000-0000-000000000000"], console.now)
    assert store.llen("reconcile") == 0


def offered(store, deployment):
    return contract.RouteRecord.from_json(store.hget(contract.ROUTES, str(deployment.pk)))


def test_an_adapter_and_a_longer_context_are_offered_once_every_serving_replica_has_them(console, store):
    a_gateway_is_alive(store)
    deployment = console.create(replicas=1)
    console.run(deployment)
    console.edit(deployment, adapters=[{"repository": "lab/sql"}], engine={"context_length": 4096})
    console.tick()
    assert (offered(store, deployment).adapters, offered(store, deployment).context_length) == ([], 4096)
    console.edit(deployment, engine={"context_length": 8192})
    for _ in range(6):
        console.tick(4)
        console.cluster.reach(ReplicaState.READY, *console.cluster.running())
    assert (offered(store, deployment).adapters, offered(store, deployment).context_length) == (["sql"], 8192)
