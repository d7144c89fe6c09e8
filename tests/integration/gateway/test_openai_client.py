"""The openai package against the gateway: responses, streams, and the exception class of every error."""

import asyncio

import httpx
import openai
import pytest

from gateway import contract
from tests.integration.gateway.conftest import ORGANIZATION, OTHER, World, chat, secret, until


async def test_responses_and_streams_are_read_by_the_asynchronous_client(world: World):
    url = await world.gateway()
    await world.replica(await world.deployment())
    client = world.client(url)
    answer = await client.chat.completions.create(**chat("chunks=2"))
    assert answer.choices[0].message.content == "w0 w1"
    assert (answer._request_id or "").startswith("req_")
    stream = await client.chat.completions.create(**chat("chunks=2", stream=True))
    chunks = [chunk async for chunk in stream]
    assert [chunk.usage for chunk in chunks] == [None, None]
    asked = chat("chunks=2", stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in await client.chat.completions.create(**asked)]
    assert [chunk.usage and chunk.usage.completion_tokens for chunk in chunks] == [None, None, 2]
    text = await client.completions.create(model="acme/chat", prompt="chunks=1")
    assert text.model_dump()["usage"]["completion_tokens"] == 1


async def test_responses_and_streams_are_read_by_the_synchronous_client(world: World):
    url = await world.gateway()
    await world.replica(await world.deployment())

    def run_client() -> tuple[str | None, int]:
        with openai.OpenAI(base_url=f"{url}/v1", api_key=world.key, max_retries=0) as client:
            answer = client.chat.completions.create(**chat("chunks=2"))
            stream = client.chat.completions.create(**chat("chunks=4", stream=True))
            return answer.choices[0].message.content, sum(1 for _ in stream)

    assert await asyncio.to_thread(run_client) == ("w0 w1", 4)


async def test_embeddings_are_returned_and_their_input_is_counted(world: World):
    url = await world.gateway()
    replica = await world.replica(await world.deployment(adapters=["law"]))
    client = world.client(url)
    answer = await client.embeddings.create(model="chat:law", input=["one", "two"], encoding_format="float")
    assert [embedding.embedding for embedding in answer.data] == [[0.5, 0.25]] * 2
    event = await world.event()
    assert (event.input_tokens, event.output_tokens, event.estimated, event.model) == (7, 0, False, "chat:law")
    with pytest.raises(openai.BadRequestError):
        await client.embeddings.create(model="chat", input="")
    assert len(replica.requests) == 1


async def test_an_adapter_is_called_by_its_name_and_the_body_is_not_rewritten(world: World):
    url = await world.gateway()
    replica = await world.replica(await world.deployment(adapters=["law"]))
    body = b'{"model" : "acme/chat:law","messages":[{"role":"user","content":"hi"}]}'
    assert (await world.post(url, body))[0] == 200
    assert (replica.requests[0]["model"], replica.headers[0]["content-length"]) == ("acme/chat:law", str(len(body)))
    assert (await world.event()).model == "acme/chat:law"
    with pytest.raises(openai.NotFoundError):
        await world.client(url).chat.completions.create(**chat(model="chat:tax"))
    assert len(replica.requests) == 1


async def test_a_body_that_would_make_the_engine_fetch_never_reaches_it(world: World):
    url = await world.gateway()
    replica = await world.replica(await world.deployment())
    part = {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest"}}
    with pytest.raises(openai.BadRequestError, match="data:"):
        await world.client(url).chat.completions.create(model="chat", messages=[{"role": "user", "content": [part]}])
    assert replica.requests == []


async def test_a_lost_stream_raises_in_the_client(world: World):
    url = await world.gateway()
    await world.replica(await world.deployment())
    stream = await world.client(url).chat.completions.create(**chat("chunks=4 die=2", stream=True))
    with pytest.raises(openai.APIError, match="lost") as caught:
        [chunk async for chunk in stream]
    assert caught.value.code == "upstream_lost"


ERRORS = {
    "malformed": (chat() | {"messages": []}, openai.BadRequestError, None),
    "too long": (chat("x" * 9000), openai.BadRequestError, "context_length_exceeded"),
    "out of range": (chat(max_tokens=0), openai.UnprocessableEntityError, "invalid_max_tokens"),
    "more than the context": (chat(max_tokens=1001), openai.UnprocessableEntityError, "invalid_max_tokens"),
    "unknown model": (chat(model="nope"), openai.NotFoundError, "model_not_found"),
    "another organization's": (chat(model="theirs"), openai.NotFoundError, "model_not_found"),
    "failed": (chat(model="broken"), openai.InternalServerError, "deployment_failed"),
    "engine refuses": (chat("status=422"), openai.UnprocessableEntityError, None),
}


@pytest.mark.parametrize(("body", "kind", "code"), ERRORS.values(), ids=ERRORS.keys())
async def test_errors_are_the_right_exceptions(world: World, body, kind, code):
    await world.deployment("theirs", organization_id=OTHER, organization_slug="other")
    await world.deployment("broken", state="failed")
    await world.replica(await world.deployment())
    client = world.client(await world.gateway())
    with pytest.raises(kind) as caught:
        await client.chat.completions.create(**body)
    assert caught.value.code == code
    assert (caught.value.request_id or "").startswith("req_")


KEYS = {
    "unknown": ({}, secret(99), openai.AuthenticationError, "invalid_api_key"),
    "wrong checksum": ({}, secret(1)[:-1] + "!", openai.AuthenticationError, "invalid_api_key"),
    "expired": ({"expires_at": 1.0}, None, openai.AuthenticationError, "invalid_api_key"),
    "without the scope": ({"scopes": ["read"]}, None, openai.PermissionDeniedError, "permission_denied"),
    "for another deployment": ({"deployments": ["x"]}, None, openai.PermissionDeniedError, "permission_denied"),
}


@pytest.mark.parametrize(("changes", "key", "kind", "code"), KEYS.values(), ids=KEYS.keys())
async def test_keys_without_access_are_refused(world: World, changes, key, kind, code):
    await world.replica(await world.deployment())
    made = await world.add_key(2, **changes)
    client = world.client(await world.gateway(), api_key=key or made)
    with pytest.raises(kind) as caught:
        await client.chat.completions.create(**chat())
    assert caught.value.code == code
    assert (await world.events()) == []


async def test_a_key_and_a_deployment_work_as_soon_as_they_are_published(world: World):
    url = await world.gateway()
    gateways, world.gateways = world.gateways, []  # publish without refreshing the gateways
    text = await world.add_key(7)
    await world.replica(await world.deployment("new"))
    assert (await world.client(url, api_key=text).chat.completions.create(**chat(model="new"))).choices
    world.gateways = gateways


async def test_a_revoked_key_is_refused_within_a_second(world: World):
    await world.replica(await world.deployment())
    client = world.client(await world.gateway())
    await client.chat.completions.create(**chat())
    await world.store.delete(contract.KEYS)
    await world.store.xadd(contract.CHANGES, {contract.KEY_CHANGED: contract.key_hash(world.key)})

    async def is_refused():
        try:
            await client.chat.completions.create(**chat())
        except openai.AuthenticationError:
            return True
        return False

    await until(is_refused, 1.0)


async def test_the_models_list_contains_exactly_what_the_key_may_call(world: World):
    first, second = await world.deployment("a"), await world.deployment("b")
    await world.deployment("theirs", organization_id=OTHER, organization_slug="other")
    narrow = await world.add_key(2, deployments=[first.deployment_id])
    url = await world.gateway()
    assert second.organization_id == ORGANIZATION
    assert [model.id async for model in world.client(url).models.list()] == ["a", "b"]
    client = world.client(url, api_key=narrow)
    assert [(model.id, model.owned_by) async for model in client.models.list()] == [("a", "acme")]
    assert (await client.models.retrieve("a")).created == 1_700_000_000
    assert (await world.client(url).models.retrieve("acme/b")).id == "b"
    with pytest.raises(openai.PermissionDeniedError):
        await client.models.retrieve("b")
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("theirs")


async def test_an_invisible_deployment_has_the_same_response_as_a_missing_one(world: World):
    url = await world.gateway()
    before = await world.post(url, chat(model="theirs"))
    await world.deployment("theirs", organization_id=OTHER, organization_slug="other")
    after = await world.post(url, chat(model="theirs"))
    assert (before[0], before[2]) == (after[0], after[2])


PLAIN = {
    "unknown path": ("GET", "/v1/nothing", 404, "unknown_url"),
    "metrics": ("GET", "/metrics", 404, "unknown_url"),
    "engine route": ("POST", "/v1/load_lora_adapter", 404, "unknown_url"),
    "wrong method": ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
    "no key": ("GET", "/v1/models", 401, "invalid_api_key"),
    "key in the query": ("GET", f"/v1/models?api_key={secret(1)}", 401, "invalid_api_key"),
}


@pytest.mark.parametrize(("method", "path", "status", "code"), PLAIN.values(), ids=PLAIN.keys())
async def test_every_refusal_has_the_error_shape_and_a_request_id(world: World, method, path, status, code):
    async with httpx.AsyncClient(base_url=await world.gateway()) as client:
        answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert answer.headers["x-request-id"].startswith("req_")
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize("path", ["/health", "/livez", "/readyz"])
async def test_health_needs_no_key(world: World, path):
    await world.deployment()
    async with httpx.AsyncClient(base_url=await world.gateway()) as client:
        assert (await client.get(path)).status_code == 200
        assert (await client.head(path)).status_code == 200


async def test_malformed_json_and_a_body_that_is_too_large_are_refused(world: World):
    url = await world.gateway(body_bytes=1000)
    assert (await world.post(url, b'{"model": '))[0] == 400
    assert (await world.post(url, b"[" * 900))[0] == 400
    status, headers, body = await world.post(url, b"x" * 1001)
    assert (status, b"request_too_large" in body) == (413, True)
    assert headers["x-request-id"].startswith("req_")
