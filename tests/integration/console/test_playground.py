import asyncio
import html
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from channels.db import database_sync_to_async as database
from django.test import AsyncClient
from django.utils import timezone

from accounts.models import ApiKey, Organization, User
from accounts.roles import Role
from console.playground import playground
from console.playground.gateway_client import KEYS
from deployments.models import Deployment
from deployments.states import DeploymentStatus, ReplicaState
from gateway.contract import key_hash
from tests.integration.console import deployment_rows as rows
from tests.integration.console.markup import squeeze

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("connections_given_back")]
BACKEND = "django.contrib.auth.backends.ModelBackend"
SSE = {"accept": "text/event-stream"}


class Gateway:
    """What the console sees of a gateway: it keeps the requests and answers as told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self.refusals: list[tuple[int, str]] = []
        self.pieces = ["Simulated ", "answer"]
        self.cut = False
        self.opened = asyncio.Event()
        self.opened.set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        secret = request.headers["Authorization"].removeprefix("Bearer ")
        self.seen.append((secret, await request.json()))
        if self.refusals:
            status, message = self.refusals.pop(0)
            return web.json_response({"error": {"message": message, "type": "x", "code": None}}, status=status)
        await self.opened.wait()
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for piece in self.pieces:
            await response.write(chunk({"choices": [{"delta": {"content": piece}}], "usage": None}))
        if not self.cut:
            await response.write(chunk({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}))
            await response.write(b"data: [DONE]\n\n")
        return response


def chunk(data: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(data)}\n\n".encode()


@pytest.fixture
async def gateway(settings: Any) -> AsyncIterator[Gateway]:
    fake = Gateway()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", fake.answer)
    server = TestServer(app)
    await server.start_server()
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, host="127.0.0.1", gateway_port=server.port)
    yield fake
    await server.close()


@asynccontextmanager
async def asking(
    role: Role = Role.MEMBER, status: DeploymentStatus = DeploymentStatus.RUNNING
) -> AsyncIterator[tuple[AsyncClient, Deployment, User]]:
    owner: Organization = await database(rows.organization)()
    user = await database(rows.person)(f"{role}@example.com", owner, role)
    deployment = await database(rows.in_status)(owner, status, timezone.now())
    client = AsyncClient()
    await client.aforce_login(user, backend=BACKEND)
    yield client, deployment, user


async def ask(client: AsyncClient, deployment: Deployment, **headers: str) -> Any:
    body = {"message": "Hello <b>", "max_tokens": "2"}
    return await client.post(f"/deployments/{deployment.pk}/playground/", body, headers=headers)


def parse(event: bytes) -> tuple[str, dict[str, Any]]:
    name, data = event.decode().strip().split("\ndata: ")
    return name.removeprefix("event: "), json.loads(data)


async def events(response: Any) -> list[tuple[str, dict[str, Any]]]:
    text = b"".join([part async for part in response.streaming_content]).decode()
    pairs = [event.split("\ndata: ") for event in text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data)) for name, data in pairs]


async def test_the_answer_is_streamed_with_its_figures_and_called_as_the_person(gateway):
    async with asking() as (client, deployment, user):
        response = await ask(client, deployment, **SSE)
        assert response["content-type"].startswith("text/event-stream")
        *texts, (name, figures) = await events(response)
        assert texts == [("text", {"text": "Simulated "}), ("text", {"text": "answer"})]
        assert name == "figures"
        assert (figures["input_tokens"], figures["output_tokens"]) == (7, 2)
        secret, body = gateway.seen[0]
        assert body["model"] == deployment.name
        assert body["max_tokens"] == 2
        key = await ApiKey.objects.aget(key_hash=key_hash(secret))
        assert (key.kind, key.user_id, key.deployments) == ("playground", user.pk, [deployment.pk])
        assert key.expires_at is not None
        assert 200 < (key.expires_at - timezone.now()).total_seconds() <= 300


async def test_without_script_the_whole_answer_comes_as_a_page(gateway):
    async with asking() as (client, deployment, _):
        response = await ask(client, deployment)
        text = squeeze(response)
        assert "Simulated answer" in text
        assert "7 in, 2 out" in text
        assert "Hello &lt;b&gt;" in text


async def test_system_prompt_temperature_and_the_conversation_so_far_are_sent(gateway):
    history = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    body = {"message": "And now?", "max_tokens": "2", "system": "Be brief.", "temperature": "0.5"}
    async with asking() as (client, deployment, _):
        path = f"/deployments/{deployment.pk}/playground/"
        page = await client.post(path, body | {"history": json.dumps(history)})
        (_, sent) = gateway.seen[0]
        assert sent["messages"] == [
            {"role": "system", "content": "Be brief."},
            *history,
            {"role": "user", "content": "And now?"},
        ]
        assert sent["temperature"] == 0.5
        kept = json.loads(html.unescape(re.search(r'name="history" value="([^"]*)"', page.content.decode())[1]))
        assert [turn["content"] for turn in kept] == ["Hi", "Hello", "And now?", "Simulated answer"]
        assert "Be brief." in squeeze(page)
        cleared = await client.post(path, {"clear": "1", "history": json.dumps(kept)}, follow=True)
        assert "Simulated answer" not in cleared.content.decode()


async def test_without_a_temperature_the_model_decides(gateway):
    async with asking() as (client, deployment, _):
        await events(await ask(client, deployment, **SSE))
        assert "temperature" not in gateway.seen[0][1]


async def test_a_message_that_got_no_answer_stays_in_its_field_and_out_of_the_conversation(gateway):
    gateway.refusals = [(503, "The queue is full.")]
    async with asking() as (client, deployment, _):
        page = (await ask(client, deployment)).content.decode()
        assert "The queue is full." in page
        assert re.search(r"<textarea[^>]*>\s*Hello &lt;b&gt;</textarea>", page)
        assert 'name="history" value=""' in page


async def test_while_a_replica_starts_the_stream_says_what_it_waits_for_and_the_figures_tell_the_cold_start(
    gateway, monkeypatch
):
    monkeypatch.setattr(playground, "REPORT_SECONDS", 0.05)
    gateway.opened.clear()
    async with asking(status=DeploymentStatus.DEPLOYING) as (client, deployment, _):
        response = await ask(client, deployment, **SSE)
        stream = aiter(response.streaming_content)
        name, data = parse(await anext(stream))
        assert name == "waiting"
        assert data["words"].startswith("Cold start: ")
        assert data["expected"] == "(no earlier starts to compare with)"
        gateway.opened.set()
        name, figures = [parse(event) async for event in stream][-1]
        assert name == "figures"
        assert figures["cold_start_seconds"] is not None


async def test_a_warm_answer_has_no_cold_start(gateway):
    async with asking() as (client, deployment, _):
        ready = await database(rows.replica)(deployment, ReplicaState.READY, timezone.now(), ready_at=timezone.now())
        assert ready.serving
        figures = (await events(await ask(client, deployment, **SSE)))[-1][1]
        assert figures["cold_start_seconds"] is None


async def test_the_second_question_uses_the_same_key(gateway):
    async with asking() as (client, deployment, _):
        for _ in range(2):
            await events(await ask(client, deployment, **SSE))
        assert gateway.seen[0][0] == gateway.seen[1][0]


async def test_a_key_that_has_not_reached_the_gateway_yet_is_tried_again(gateway):
    gateway.refusals = [(401, "No such key."), (401, "No such key.")]
    async with asking() as (client, deployment, _):
        assert (await events(await ask(client, deployment, **SSE)))[-1][0] == "figures"
        assert len(gateway.seen) == 3


async def test_a_refusal_is_said_in_the_gateways_words(gateway):
    gateway.refusals = [(503, "The deployment failed: out of memory.")]
    async with asking() as (client, deployment, _):
        answer = await events(await ask(client, deployment, **SSE))
        assert answer == [("problem", {"words": "The deployment failed: out of memory.", "status": 503})]


async def test_an_answer_that_is_cut_off_is_never_shown_as_whole(gateway):
    gateway.cut = True
    async with asking() as (client, deployment, _):
        name, data = (await events(await ask(client, deployment, **SSE)))[-1]
        assert name == "problem"
        assert "the answer is incomplete" in data["words"]


async def test_a_gateway_that_is_away_is_said_in_words(settings):
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, gateway_port=9)
    async with asking() as (client, deployment, _):
        assert "cannot be reached" in (await ask(client, deployment)).content.decode()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"max_tokens": "2"}, "Enter a message"),
        ({"message": "x", "max_tokens": "0"}, "1 to 4,096"),
        ({"message": "x", "max_tokens": "2", "temperature": "3"}, "a number from 0 to 2"),
        ({"message": "x", "max_tokens": "2", "history": "[1]"}, "Clear it to start a new one."),
        ({"message": "x", "max_tokens": "2", "history": "nonsense"}, "Clear it to start a new one."),
    ],
)
async def test_bad_input_is_said_at_its_field(gateway, body, words):
    async with asking() as (client, deployment, _):
        path = f"/deployments/{deployment.pk}/playground/"
        page = await client.post(path, body)
        assert (page.status_code, words in squeeze(page)) == (422, True)
        streamed = await client.post(path, body, headers=SSE)
        assert (streamed.status_code, words in " ".join(streamed.json()["errors"].values())) == (422, True)
        assert gateway.seen == []


async def test_a_viewer_may_not_call(gateway):
    async with asking(Role.VIEWER) as (client, deployment, user):
        assert (await ask(client, deployment, **SSE)).status_code == 403
        assert not await ApiKey.objects.filter(user=user).aexists()


async def test_a_post_without_token_is_refused():
    async with asking() as (_, deployment, user):
        client = AsyncClient(enforce_csrf_checks=True)
        await client.aforce_login(user, backend=BACKEND)
        assert (await ask(client, deployment, **SSE)).status_code == 403


async def test_a_key_is_forgotten_when_the_gateway_keeps_refusing_it(gateway):
    gateway.refusals = [(401, "No such key.")] * 100
    async with asking() as (client, deployment, user):
        answer = await events(await ask(client, deployment, **SSE))
        assert answer[-1][1]["status"] == 401
        gateway.refusals = []
        await events(await ask(client, deployment, **SSE))
        assert gateway.seen[-1][0] != gateway.seen[0][0]
        assert await database(KEYS.secret)(deployment, user, timezone.now()) == gateway.seen[-1][0]


async def test_a_refusal_is_one_line_in_the_log_without_a_traceback(gateway, caplog):
    async with asking(Role.VIEWER) as (client, deployment, _):
        await ask(client, deployment, **SSE)
    (line,) = [record for record in caplog.records if record.name == "django.request"]
    assert "Forbidden" in line.getMessage()
    assert line.exc_info is None
