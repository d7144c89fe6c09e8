"""Streams of the API: each line or event once, as it comes, until nothing more will or the key may not see it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest
from channels.db import database_sync_to_async as database
from channels.layers import get_channel_layer
from django.test import AsyncClient

from accounts.models import ApiKey
from console.api import events as event_stream
from deployments import events, notifications
from deployments.drivers.base import LogLine
from deployments.logs import stored_format
from deployments.models import Cluster, Deployment, DeploymentEvent, Replica
from deployments.states import ReplicaState
from tests.integration.api import world
from tests.integration.api.world import NOW, Api

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def owned(transactional_db, redis_url, connections_given_back):
    return await database(make)()


def make() -> tuple[Deployment, Replica, str]:
    """A deployment with a living replica that has said two lines, and the secret of who owns it."""
    world.make_model("small", 8192)
    world.make_cluster()
    tenant = world.make_tenant("northwind")
    made = Api(tenant.secrets["admin"]).post("/deployments", world.BODY).json()
    row = Deployment.objects.get(pk=made["id"])
    return row, world.make_replica(row, ReplicaState.READY, log_tail=kept("one", "two")), tenant.secrets["admin"]


def kept(*texts: str) -> str:
    return stored_format.pack([LogLine(NOW + timedelta(seconds=n), text) for n, text in enumerate(texts)], 2**18)


async def told(secret: str, path: str, **headers: str) -> AsyncIterator[tuple[str, str, Any]]:
    """(event name, id, data) of each event of a stream; heartbeats have the name "heartbeat"."""
    given = {"Authorization": f"Bearer {secret}"} | headers
    answer = await AsyncClient().get(f"/api/v1/deployments/chat/{path}", headers=given)
    assert answer.status_code == 200
    assert answer["content-type"] == "text/event-stream; charset=utf-8"
    assert answer["x-request-id"]
    async with aclosing(answer.streaming_content) as chunks:
        async for chunk in chunks:
            lines = chunk.decode().removesuffix("\n\n").split("\n")
            fields = dict(line.split(": ", 1) for line in lines if not line.startswith(":"))
            data = json.loads(fields["data"]) if "data" in fields else None
            yield fields.get("event", "message" if fields else "heartbeat"), fields.get("id", ""), data


async def said(stream: AsyncIterator[tuple[str, str, Any]]) -> tuple[str, str, Any]:
    """The next event that is no heartbeat."""
    async for one in stream:
        if one[0] != "heartbeat":
            return one
    raise AssertionError("the stream ended without a word")


@database
def write(row: Deployment, *, notify: bool = True) -> int:
    event = events.terminate_requested(row, None, NOW)
    event.save()
    if notify:
        notifications.notify_pages([row])
    return int(event.pk)


def change(model: Any, **values: Any) -> Any:
    return database(lambda: model.objects.update(**values))()


class TestALog:
    async def test_is_followed_line_by_line_until_its_replica_has_ended(self, owned):
        _, replica, secret = owned
        async with asyncio.timeout(15), aclosing(told(secret, f"logs?follow=true&replica={replica.pk}")) as stream:
            assert (await said(stream))[2] == {
                "at": "2026-11-21T12:00:00Z", "replica": str(replica.pk), "text": "one",
            }  # fmt: skip
            assert (await said(stream))[2]["text"] == "two"
            await change(Replica, log_tail=kept("one", "two", "<i>\x1b[0m"))
            assert (await said(stream))[2]["text"] == "<i>"
            await change(Replica, log_tail=kept("one", "two", "<i>", "last"), state=ReplicaState.STOPPED)
            assert (await said(stream))[2]["text"] == "last"
            assert (await said(stream))[0] == "ended"
            assert [one async for one in stream] == []

    async def test_is_followed_for_what_is_sought(self, owned):
        _, _, secret = owned
        async with asyncio.timeout(15), aclosing(told(secret, "logs?follow=true&q=T&tail=1")) as stream:
            assert (await said(stream))[2]["text"] == "two"
            await change(Replica, log_tail=kept("one", "two", "nine", "ten"))
            assert (await said(stream))[2]["text"] == "ten"

    async def test_ends_with_its_key(self, owned):
        _, _, secret = owned
        async with asyncio.timeout(15), aclosing(told(secret, "logs?follow=true&tail=1")) as stream:
            await said(stream)
            await change(ApiKey, revoked_at=NOW)
            assert (await said(stream))[0] == "ended"

    async def test_tells_the_cluster_s_trouble_and_goes_on(self, owned):
        _, _, secret = owned
        await change(Cluster, driver="nowhere")
        async with asyncio.timeout(15), aclosing(told(secret, "logs?follow=true")) as stream:
            name, _, data = await said(stream)
            assert (name, data["detail"].startswith("The log cannot be read now")) == ("trouble", True)
            await change(Cluster, driver=Cluster.Driver.MEMORY)
            while (await said(stream))[0] == "trouble":
                pass


class TestEvents:
    async def test_are_told_as_they_are_written(self, owned):
        row, _, secret = owned
        async with asyncio.timeout(15), aclosing(told(secret, "events?follow=true")) as stream:
            assert (await anext(stream))[0] == "heartbeat"
            ids = [await write(row), await write(row)]
            found = [await said(stream), await said(stream)]
            assert [(name, event_id, data["id"]) for name, event_id, data in found] == [
                ("message", str(one), str(one)) for one in ids
            ]
            assert set(found[0][2]) == {"id", "at", "kind", "actor", "summary", "data"}

    async def test_are_told_without_a_notification(self, owned, monkeypatch):
        row, _, secret = owned
        monkeypatch.setattr(event_stream, "LOOK_SECONDS", 0.5)
        async with asyncio.timeout(15), aclosing(told(secret, "events?follow=true")) as stream:
            await anext(stream)
            written = await write(row, notify=False)
            assert (await said(stream))[1] == str(written)

    @pytest.mark.parametrize("by", ["after", "Last-Event-ID"])
    async def test_are_told_from_a_known_one_on(self, owned, by):
        row, _, secret = owned
        ids = [await write(row, notify=False) for _ in range(3)]
        query, headers = (f"&after={ids[0]}", {}) if by == "after" else ("", {by: str(ids[0])})
        async with asyncio.timeout(15), aclosing(told(secret, f"events?follow=true{query}", **headers)) as stream:
            assert [(await said(stream))[1], (await said(stream))[1]] == [str(one) for one in ids[1:]]

    async def test_of_others_are_never_told(self, owned):
        row, _, secret = owned
        other = Api(secret).post
        made = await database(lambda: other("/deployments", world.BODY | {"name": "other"}).json())()
        async with asyncio.timeout(15), aclosing(told(secret, "events?follow=true&after=0")) as stream:
            assert (await said(stream))[2]["kind"] == "created"
            await write(await database(Deployment.objects.get)(pk=made["id"]))
            mine = await write(row)
            assert (await said(stream))[1] == str(mine)

    @pytest.mark.parametrize(
        "end",
        [
            lambda: ApiKey.objects.update(revoked_at=NOW),
            lambda: Deployment.objects.update(deleted_at=NOW),
        ],
        ids=["the key is revoked", "the deployment is deleted"],
    )
    async def test_end_within_five_seconds_when(self, owned, end):
        _, _, secret = owned
        async with asyncio.timeout(15), aclosing(told(secret, "events?follow=true")) as stream:
            await anext(stream)
            await database(end)()
            async with asyncio.timeout(30):
                assert (await said(stream))[0] == "ended"
            assert [one async for one in stream] == []
            assert await database(DeploymentEvent.objects.count)() == 1

    async def test_leave_nothing_behind_when_the_reader_goes(self, owned):
        row, _, secret = owned
        layer = get_channel_layer()._get_layer()
        group = layer._get_group_channel_name(f"deployment.{row.pk}")
        reader = asyncio.create_task(read(secret))
        await until(lambda: group in layer.groups)
        reader.cancel()
        await until(lambda: group not in layer.groups)


async def read(secret: str) -> None:
    """Until it is cancelled, as a request is whose client has gone."""
    async for _ in told(secret, "events?follow=true"):
        pass


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the channel layer has no event to wait for
            await asyncio.sleep(0.01)
