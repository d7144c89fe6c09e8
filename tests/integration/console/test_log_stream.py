import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from channels.db import database_sync_to_async as database
from django.test import AsyncClient
from django.utils import timezone

from accounts.models import User
from deployments.drivers.base import Launch, ReplicaSpec
from deployments.events import short
from deployments.models import Cluster, Deployment, Replica
from deployments.reconciler.observe import configured_drivers
from deployments.states import DeploymentStatus, ReplicaState
from tests.integration.console import deployment_rows as rows

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("connections_given_back")]
BACKEND = "django.contrib.auth.backends.ModelBackend"


def running_in_memory() -> tuple[User, Deployment, Replica]:
    """A deployment whose replica runs in a memory cluster, which writes one line."""
    owner = rows.organization()
    deployment = rows.in_status(owner, DeploymentStatus.RUNNING, timezone.now())
    Cluster.objects.update(driver=Cluster.Driver.MEMORY)
    replica = deployment.replicas.select_related("cluster").get()
    driver = configured_drivers()(replica.cluster)
    launch = Launch(command=("engine",), health_path="/health", metrics_path="/metrics")
    ids = {"replica_id": str(replica.pk), "deployment_id": str(deployment.pk), "organization_id": str(owner.pk)}
    driver.start(ReplicaSpec(name=replica.name, gpu_type="l40s-48gb", gpu_count=1, launch=launch, **ids))
    return rows.person("mara@example.com", owner), deployment, replica


async def stream_of(client: AsyncClient, deployment: Deployment, replica: Replica) -> AsyncIterator[bytes]:
    answer = await client.get(f"/deployments/{deployment.pk}/logs/{replica.pk}/stream/")
    assert answer["content-type"].startswith("text/event-stream")
    content: AsyncIterator[bytes] = answer.streaming_content
    return content


def read(event: bytes) -> tuple[str, Any]:
    name, data = event.decode().strip().split("\ndata: ")
    return name.removeprefix("event: "), json.loads(data)


async def test_a_living_replicas_log_is_followed_until_it_has_ended():
    user, deployment, replica = await database(running_in_memory)()
    client = AsyncClient()
    await client.aforce_login(user, backend=BACKEND)
    async with asyncio.timeout(15), aclosing(await stream_of(client, deployment, replica)) as events:  # type: ignore[type-var]
        name, data = read(await anext(events))
        assert name == "lines"
        assert data["anew"]
        assert data["lines"][0]["parts"] == [["simulated in memory", False]]
        assert data["lines"][0]["replica"] == short(replica)
        ended = Replica.objects.filter(pk=replica.pk)
        await ended.aupdate(state=ReplicaState.STOPPED, log_tail="simulated in memory\nlast words")
        async for event in events:
            if event.startswith(b"event: ended"):
                break
        assert event.startswith(b"event: ended")


async def test_the_stream_ends_with_the_session():
    user, deployment, replica = await database(running_in_memory)()
    client = AsyncClient()
    await client.aforce_login(user, backend=BACKEND)
    async with asyncio.timeout(15), aclosing(await stream_of(client, deployment, replica)) as events:  # type: ignore[type-var]
        await anext(events)
        await client.alogout()
        rest = [event async for event in events]
        assert rest[-1].startswith(b"event: ended")


async def test_a_cluster_that_cannot_say_is_told_in_words():
    user, deployment, replica = await database(running_in_memory)()
    await Cluster.objects.aupdate(driver="nowhere")
    client = AsyncClient()
    await client.aforce_login(user, backend=BACKEND)
    page = await client.get(f"/deployments/{deployment.pk}/logs/")
    assert "The log cannot be read now" in page.content.decode()
    async with aclosing(await stream_of(client, deployment, replica)) as events:  # type: ignore[type-var]
        assert read(await anext(events))[0] == "trouble"
