"""The logs page: its lines, its search, its stream."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import pytest
from channels.db import database_sync_to_async as database
from django.test import AsyncClient, Client
from django.utils import timezone

from accounts.models import User
from accounts.roles import Role
from deployments.cluster_drivers import configured_drivers
from deployments.drivers.base import Launch, LogLine, ReplicaSpec
from deployments.events import short
from deployments.logs import stored_format
from deployments.models import Cluster, Deployment, Replica
from deployments.states import DeploymentStatus, ReplicaState
from tests.integration.console import deployment_rows as rows
from tests.integration.console.markup import squeeze

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
    assert "The log cannot be read now" in squeeze(page)
    async with aclosing(await stream_of(client, deployment, replica)) as events:  # type: ignore[type-var]
        assert read(await anext(events))[0] == "trouble"


KEPT = stored_format.pack(
    [
        LogLine(datetime(2026, 11, 20, 9, 0, second, tzinfo=UTC), text)
        for second, text in enumerate(
            ["loading", "<img src=x onerror=alert(1)>", "\x1b[31mERROR\x1b[0m bad", "error: worse"]
        )
    ],
    2**18,
)


@pytest.fixture
def ended(transactional_db):
    """A client who may see a deployment that has failed, and the address of its logs."""
    owner = rows.organization()
    deployment = rows.in_status(owner, DeploymentStatus.FAILED, timezone.now())
    deployment.replicas.update(log_tail=KEPT, created_at=datetime(2026, 11, 20, 8, tzinfo=UTC))
    client = Client()
    client.force_login(rows.person("vera@example.com", owner, Role.VIEWER), backend=BACKEND)
    return client, f"/deployments/{deployment.pk}/logs/"


def spans(client: Client, address: str) -> list[str]:
    text = squeeze(client.get(address))
    return re.findall(r"<div><time[^>]*>[^<]*</time><b>r-[0-9a-f]{4}</b><span>(.*?)</span></div>", text)


class TestThePage:
    def test_shows_lines_as_text_and_never_as_markup(self, ended):
        assert spans(*ended) == ["loading", "&lt;img src=x onerror=alert(1)&gt;", "ERROR bad", "error: worse"]

    def test_marks_what_was_searched_for(self, ended):
        client, address = ended
        assert spans(client, f"{address}?q=error") == [
            "&lt;img src=x on<mark>error</mark>=alert(1)&gt;",
            "<mark>ERROR</mark> bad",
            "<mark>error</mark>: worse",
        ]
        assert spans(client, f"{address}?q=%3Cimg") == ["<mark>&lt;img</mark> src=x onerror=alert(1)&gt;"]
        assert spans(client, f"{address}?q=.*") == []

    @pytest.mark.parametrize(
        ("query", "count"),
        [
            ("period=all", 4),
            ("period=1h", 0),
            ("since=2026-11-20T09:00:01", 3),
            ("until=2026-11-20T09:00:01", 1),
            ("period=custom&since=2026-11-20T09:00:01&until=2026-11-20T09:00:02", 1),
            ("period=5m&since=2026-11-20T09:00:01", 0),
            ("since=2026-11-20T14:30:01&zone=Asia/Kolkata", 3),
            ("since=2026-11-20T09:00:01&zone=Nowhere/Land", 3),
            ("since=2026-11-20T09:00:01&zone=../UTC", 3),
            ("since=2026-11-20T09:00:01&zone=Europe", 3),
        ],
    )
    def test_is_limited_to_a_time(self, ended, query, count):
        client, address = ended
        assert len(spans(client, f"{address}?{query}")) == count

    @pytest.mark.parametrize(
        ("query", "words"),
        [
            ("since=yesterday", "Enter a date and time"),
            ("since=2026-11-20T09:00&until=2026-11-20T09:00", "The end is not after the start"),
            ("q=%00", "Null characters are not allowed"),
        ],
    )
    def test_says_at_the_field_what_is_wrong(self, ended, query, words):
        client, address = ended
        text = squeeze(client.get(f"{address}?{query}"))
        assert words in text
        assert 'aria-invalid="true"' in text
        assert "Correct the search above to see lines." in text

    def test_names_every_replica_with_its_state(self, ended):
        client, address = ended
        text = squeeze(client.get(address))
        assert re.search(r'<option value="[0-9a-f-]{36}">r-[0-9a-f]{4}, failed \d\d:\d\d:\d\d UTC</option>', text)

    def test_gives_its_lines_as_json(self, ended):
        client, address = ended
        answer = client.get(f"{address}lines.json?q=worse")
        assert answer["content-disposition"].startswith("attachment")
        assert [line["text"] for line in answer.json()["data"]] == ["error: worse"]
        assert client.get(f"{address}lines.json?since=x").status_code == 404


async def test_all_replicas_are_followed_with_what_is_sought_marked():
    user, deployment, _ = await database(running_in_memory)()
    client = AsyncClient()
    await client.aforce_login(user, backend=BACKEND)
    answer = await client.get(f"/deployments/{deployment.pk}/logs/stream/?q=SIMULATED")
    async with asyncio.timeout(15), aclosing(answer.streaming_content) as events:
        _, data = read(await anext(events))
        assert data["lines"][0]["parts"] == [["simulated", True], [" in memory", False]]
