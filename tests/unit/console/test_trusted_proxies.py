"""Address and scheme of a client behind a reverse proxy, as Django sees them under the options of the web process."""

import asyncio
import io
from pathlib import Path

import httpx
import pytest
import uvicorn
from django.core.handlers.asgi import ASGIRequest
from uvicorn.main import main as uvicorn_command

from console import env
from console.machine import console_processes


async def tell_client(scope, receive, send):
    request = ASGIRequest(scope, io.BytesIO())
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": f"{request.scheme} {request.META['REMOTE_ADDR']}".encode()})


def ask(folder: Path, trusted: str, peer: str, forwarded_for: str) -> str:
    """What Django takes for scheme and address of a client whose connection comes from `peer`."""
    processes = console_processes.build_console_processes(env.read({"TRUSTED_PROXIES": trusted}), {}, folder)
    command = processes["web"].command
    options = uvicorn_command.make_context("uvicorn", list(command[command.index("console.asgi:application") :])).params
    config = uvicorn.Config(
        tell_client,
        proxy_headers=options["proxy_headers"],
        forwarded_allow_ips=options["forwarded_allow_ips"],
        log_config=None,
        lifespan="off",
    )
    config.load()
    headers = {"X-Forwarded-For": forwarded_for, "X-Forwarded-Proto": "https"}

    async def get() -> str:
        transport = httpx.ASGITransport(config.loaded_app, client=(peer, 50000))
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
            return (await client.get("/", headers=headers)).text

    return asyncio.run(get())


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded_for", "client"),
    [
        pytest.param("", "127.0.0.1", "203.0.113.9", "https 203.0.113.9", id="on this machine"),
        pytest.param("", "10.0.0.2", "203.0.113.9", "http 10.0.0.2", id="forged by a client"),
        pytest.param("10.0.0.0/8", "10.0.0.2", "203.0.113.9", "https 203.0.113.9", id="on another host"),
        pytest.param("10.0.0.2", "10.0.0.3", "203.0.113.9", "http 10.0.0.3", id="beside the proxy"),
        pytest.param("10.0.0.2", "10.0.0.2", "192.0.2.1, 203.0.113.9", "https 203.0.113.9", id="forged behind it"),
        pytest.param("10.0.0.0/8", "10.0.0.2", "203.0.113.9, 10.0.0.3", "https 203.0.113.9", id="two proxies"),
    ],
)
def test_headers_count_only_from_a_trusted_proxy(tmp_path, trusted, peer, forwarded_for, client):
    assert ask(tmp_path, trusted, peer, forwarded_for) == client
