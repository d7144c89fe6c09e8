"""Connections of clients, over sockets: framing, deadlines, back-pressure, limits and closing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from gateway.http.client_connection import ClientResponse, Exchange
from gateway.http.clients import ClientEndpoint, ClientLimits
from gateway.http.heads import FieldNames, Refusal, RequestHead
from tests.integration.gateway.conftest import until

JSON = b"content-type: application/json\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b"


@dataclass
class Scripted(Exchange):
    """Answers by path: /echo the body, /early before the body, /stream in parts, /flood without end, /large 20 MB,
    /never not. /broken fails when its body is refused.
    """

    head: RequestHead
    response: ClientResponse
    body_limit: int = 1000
    body: bytes | None = None
    refusal: Refusal | None = None
    has_left: bool = False
    written: int = 0

    def __post_init__(self) -> None:
        if self.head.path == "/early":
            self.response.send_whole(401, JSON, b"{}")

    def body_received(self, body: bytes) -> None:
        self.body = body
        if self.head.path == "/echo":
            self.response.send_whole(200, JSON, body)
        elif self.head.path == "/stream":
            self.response.begin(200, JSON)
            self.response.write(b"one")
            self.response.write(b"")
            self.response.end(b"two")
        elif self.head.path == "/large":
            self.response.send_whole(200, JSON, b"x" * 20_000_000)
        elif self.head.path == "/flood":
            self.response.begin(200, JSON)
            self.client_writable()

    def body_refused(self, refusal: Refusal) -> None:
        self.refusal = refusal
        if self.head.path == "/broken":
            raise RuntimeError("broken")
        self.response.send_whole(refusal.status, JSON, refusal.message.encode())

    def client_left(self) -> None:
        self.has_left = True
        self.response.end(b"dropped")

    def client_writable(self) -> None:
        if self.head.path == "/flood" and not self.response.is_full and not self.has_left:
            self.response.write(b"x" * 10_000)
            self.written += 10_000
            asyncio.get_running_loop().call_soon(self.client_writable)


@dataclass
class Served:
    endpoint: ClientEndpoint
    port: int
    exchanges: list[Scripted] = field(default_factory=list)

    async def connect(self, **options: int) -> Peer:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, **options)
        return Peer(reader, writer)

    async def exchange(self, given: bytes) -> bytes:
        """Send bytes, and return what comes back until the connection ends."""
        peer = await self.connect()
        peer.writer.write(given)
        return await peer.read_to_end()


@dataclass
class Peer:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, given: bytes) -> tuple[bytes, bytes]:
        """Send a request and return the head and body of its response, whose length is in its head."""
        self.writer.write(given)
        return await self.read()

    async def read(self) -> tuple[bytes, bytes]:
        async with asyncio.timeout(5):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            return head, await self.reader.readexactly(length)

    async def read_to_end(self) -> bytes:
        async with asyncio.timeout(8):
            return await self.reader.read()


@asynccontextmanager
async def serve(**limits: float) -> AsyncIterator[Served]:
    listener = socket.create_server(("127.0.0.1", 0))
    served: Served

    def start(head: RequestHead, response: ClientResponse) -> Scripted:
        served.exchanges.append(Scripted(head, response))
        return served.exchanges[-1]

    def render(refusal: Refusal) -> tuple[bytes, bytes]:
        return JSON, refusal.message.encode()

    endpoint = ClientEndpoint(ClientLimits(**limits), FieldNames(()), start, render)  # type: ignore[arg-type]
    served = Served(endpoint, listener.getsockname()[1])
    await endpoint.listen(listener)
    yield served
    await endpoint.close(0.0)


def is_true(condition: Callable[[], object]):
    async def check() -> object:
        return condition()

    return until(check)


async def test_requests_follow_each_other_on_one_connection():
    async with serve() as served:
        peer = await served.connect()
        for body in (b"one", b"", b"x" * 900):
            head, answer = await peer.ask(POST % (len(body), body))
            assert head.startswith(b"HTTP/1.1 200 OK\r\ndate: ")
            assert JSON in head
            assert b"connection:" not in head
            assert answer == body
        assert len(served.endpoint) == 1


@pytest.mark.parametrize("size", [1, 3, 50])
async def test_a_request_may_arrive_in_pieces_of_any_size(size):
    async with serve() as served:
        peer = await served.connect()
        given = POST % (5, b"hello")
        for start in range(0, len(given), size):
            peer.writer.write(given[start : start + size])
            await asyncio.sleep(0)
        assert (await peer.read())[1] == b"hello"


async def test_a_chunked_body_is_decoded():
    async with serve() as served:
        peer = await served.connect()
        head = b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        assert (await peer.ask(head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"))[1] == b"abcde"
        assert (await peer.ask(POST % (2, b"hi")))[1] == b"hi"


async def test_pipelined_requests_are_answered_in_order():
    async with serve() as served:
        peer = await served.connect()
        peer.writer.write(b"".join(POST % (4, b"%04d" % number) for number in range(600)))
        assert [(await peer.read())[1] for _ in range(600)] == [b"%04d" % number for number in range(600)]


async def test_a_stream_is_chunked_and_keeps_the_connection():
    async with serve() as served:
        peer = await served.connect()
        peer.writer.write(b"GET /stream HTTP/1.1\r\nhost: a\r\n\r\n")
        head = await peer.reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding: chunked\r\n" in head
        assert await peer.reader.readuntil(b"0\r\n\r\n") == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
        assert (await peer.ask(POST % (2, b"hi")))[1] == b"hi"


async def test_http_1_0_gets_a_stream_that_ends_with_the_connection():
    async with serve() as served:
        head, _, body = (await served.exchange(b"GET /stream HTTP/1.0\r\n\r\n")).partition(b"\r\n\r\n")
        assert (b"connection: close" in head, b"transfer-encoding" in head, body) == (True, False, b"onetwo")


async def test_head_gets_no_body():
    async with serve() as served:
        peer = await served.connect()
        peer.writer.write(b"HEAD /echo HTTP/1.1\r\nhost: a\r\nContent-Length: 2\r\n\r\nhi")
        assert b"content-length: 2\r\n" in await peer.reader.readuntil(b"\r\n\r\n")
        peer.writer.write(b"HEAD /stream HTTP/1.1\r\nhost: a\r\nConnection: close\r\n\r\n")
        assert (await peer.read_to_end()).endswith(b"\r\n\r\n")


async def test_a_body_that_is_expected_is_asked_for():
    async with serve() as served:
        peer = await served.connect()
        peer.writer.write(b"POST /echo HTTP/1.1\r\nhost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await peer.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await peer.ask(b"hi"))[1] == b"hi"


async def test_a_response_before_a_short_body_keeps_the_connection_and_drops_the_body():
    async with serve() as served:
        peer = await served.connect()
        head, _ = await peer.ask(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n")
        assert b"401 Unauthorized" in head
        peer.writer.write(b"x" * 300)
        assert (await peer.ask(b"x" * 200 + POST % (2, b"hi")))[1] == b"hi"
        assert (await peer.ask(POST.replace(b"/echo", b"/early") % (2, b"hi") + POST % (2, b"ho")))[1] == b"{}"
        assert (await peer.read())[1] == b"ho"


async def test_a_response_before_a_long_body_reaches_a_client_that_sends_on():
    async with serve() as served:
        peer = await served.connect()
        head, _ = await peer.ask(
            b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 4_000_000
        )
        assert b"connection: close" in head


TOO_LARGE = {
    "declared": b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1001\r\n\r\n" + b"x" * 1001,
    "chunked": b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" + b"300\r\n" + b"x" * 768
    + b"\r\n300\r\n" + b"x" * 768 + b"\r\n0\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("given", TOO_LARGE.values(), ids=TOO_LARGE.keys())
async def test_a_body_over_the_limit_of_its_exchange_is_refused(given):
    async with serve() as served:
        answer = await served.exchange(given)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert answer.endswith(b"larger than 1000 bytes. Send a smaller one.")


async def test_a_malformed_chunk_is_refused_by_the_exchange():
    async with serve() as served:
        head = b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        assert (await served.exchange(head + b"3\r\nabcd\r\n")).startswith(b"HTTP/1.1 400 ")
        assert served.exchanges[0].refusal


async def test_what_is_no_request_is_refused_and_nothing_after_it_is_read():
    async with serve() as served:
        smuggled = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        answer = await served.exchange(smuggled + POST % (2, b"hi"))
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"connection: close\r\n" in answer
        assert answer.count(b"HTTP/1.1") == 1
        assert served.exchanges == []


async def test_a_head_over_64_kib_is_refused_before_it_is_complete():
    async with serve() as served:
        for given in (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000, b"y" * 70_000):
            assert (await served.exchange(given)).startswith(b"HTTP/1.1 431 ")
        await is_true(lambda: served.endpoint.held_bytes == 0)


async def test_an_incomplete_head_an_idle_connection_and_a_slow_body_have_deadlines():
    async with serve(head_seconds=0.2, body_seconds=0.2, idle_seconds=0.2) as served:
        assert (await served.exchange(b"GET / HTTP/1.1\r\nHost")).startswith(b"HTTP/1.1 408 ")
        assert await served.exchange(b"") == b""
        assert (await served.exchange(POST % (5, b"hel"))).startswith(b"HTTP/1.1 408 ")
        assert (await served.exchange(POST % (5, b"hello"))).endswith(b"hello")
        discarded = b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n"
        assert (await served.exchange(discarded)).startswith(b"HTTP/1.1 401 ")
        await is_true(lambda: len(served.endpoint) == 0)
        assert served.endpoint.held_bytes == 0


async def test_a_client_that_leaves_is_reported_and_what_is_written_then_is_dropped():
    async with serve() as served:
        for path in (b"/never", b"/flood"):
            peer = await served.connect()
            peer.writer.write(b"GET %b HTTP/1.1\r\nhost: a\r\n\r\n" % path)
            await is_true(lambda: served.exchanges and served.exchanges[-1].body is not None)
            peer.writer.close()
            exchange = served.exchanges[-1]
            await is_true(lambda exchange=exchange: exchange.has_left)
        await is_true(lambda: len(served.endpoint) == 0)


@pytest.mark.parametrize("given", [POST % (5, b"hel"), b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n", b""])
async def test_a_client_that_leaves_before_it_has_read_earlier_responses_is_closed_in_time(given):
    async with serve(stall_seconds=0.3, body_seconds=0.3, unsent_bytes=64 * 1024 * 1024) as served:
        peer = await served.connect(limit=1000)
        peer.writer.write(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        await is_true(lambda: served.exchanges)
        peer.writer.write(given)
        await is_true(lambda: len(served.exchanges) == (2 if given else 1))
        peer.writer.write_eof()
        await is_true(lambda: len(served.endpoint) == 0)
        assert served.endpoint.held_bytes == 0
        assert [exchange.has_left for exchange in served.exchanges] == ([False, True] if given else [False])


async def test_an_exchange_that_fails_at_its_deadline_leaves_the_deadlines_of_others(caplog):
    async with serve(body_seconds=0.2) as served:
        assert await served.exchange(POST.replace(b"/echo", b"/broken") % (5, b"hel")) == b""
        assert "RuntimeError: broken" in caplog.text
        assert (await served.exchange(POST % (5, b"hel"))).startswith(b"HTTP/1.1 408 ")


async def test_an_exchange_that_ended_before_its_body_is_not_told_that_the_client_left():
    async with serve() as served:
        peer = await served.connect()
        await peer.ask(b"GET /early HTTP/1.1\r\nHost: a\r\n\r\n")
        peer.writer.close()
        await is_true(lambda: len(served.endpoint) == 0)
        assert not served.exchanges[0].has_left


async def test_a_client_that_reads_nothing_stops_the_writer_and_then_has_left():
    async with serve(stall_seconds=0.3) as served:
        peer = await served.connect(limit=1000)
        peer.writer.write(b"GET /flood HTTP/1.1\r\nhost: a\r\n\r\n")
        await is_true(lambda: served.exchanges and served.exchanges[0].has_left)
        assert served.exchanges[0].written < 20_000_000


async def test_a_client_that_reads_slowly_is_kept_and_the_writer_goes_on():
    async with serve(stall_seconds=0.4) as served:
        peer = await served.connect(limit=1000)
        peer.writer.write(b"GET /flood HTTP/1.1\r\nhost: a\r\n\r\n")
        await is_true(lambda: served.exchanges and served.exchanges[0].written)
        written = served.exchanges[0].written
        while served.exchanges[0].written < written + 1_000_000:
            assert await peer.reader.read(100_000)
        assert not served.exchanges[0].has_left


async def test_a_client_that_pipelines_without_reading_gets_no_further_than_its_unread_responses():
    async with serve(stall_seconds=0.5) as served:
        peer = await served.connect(limit=1000)
        peer.writer.transport.pause_reading()
        peer.writer.write((POST % (900, b"x" * 900)) * 20_000)
        await is_true(lambda: served.exchanges and served.endpoint.held_bytes)
        most = 0
        while len(served.endpoint):
            most = max(most, served.endpoint.held_bytes)
            await asyncio.sleep(0.01)
        assert most < 1_000_000
        assert len(served.exchanges) < 20_000


async def test_more_connections_than_allowed_are_refused():
    async with serve(connections=1) as served:
        peer = await served.connect()
        assert (await peer.ask(POST % (2, b"hi")))[1] == b"hi"
        assert (await served.exchange(b"")).startswith(b"HTTP/1.1 503 ")
        peer.writer.close()
        await is_true(lambda: len(served.endpoint) == 0)


async def test_bodies_of_all_connections_together_are_bounded():
    async with serve(held_bytes=1500) as served:
        first = await served.connect()
        first.writer.write(POST.replace(b"/echo", b"/never") % (1000, b"x" * 1000))
        await is_true(lambda: served.endpoint.held_bytes == 1000)
        assert (await served.exchange(POST % (900, b"x" * 900))).startswith(b"HTTP/1.1 503 ")
        second = await served.connect()
        assert (await second.ask(POST % (300, b"x" * 300)))[1] == b"x" * 300
        first.writer.close()
        await is_true(lambda: served.endpoint.held_bytes == 0)
        assert (await second.ask(POST % (900, b"x" * 900)))[1] == b"x" * 900


async def test_requests_that_wait_for_an_answer_count_as_kept_and_end_their_connection_when_too_many():
    async with serve(held_bytes=1500) as served:
        for waits in (False, True):
            peer = await served.connect()
            peer.writer.write(b"GET /never HTTP/1.1\r\nhost: a\r\n\r\n")
            if waits:
                await is_true(lambda: len(served.exchanges) == 2)
            peer.writer.write((POST % (900, b"x" * 900)) * 2)
            with suppress(ConnectionResetError):
                assert await peer.read_to_end() == b""
            assert served.exchanges[-1].has_left
        await is_true(lambda: len(served.endpoint) == 0)
        assert served.endpoint.held_bytes == 0


async def test_an_incomplete_head_for_which_there_is_no_room_is_refused():
    async with serve(held_bytes=1000) as served:
        assert (await served.exchange(b"GET / HTTP/1.1\r\nX: " + b"x" * 1000)).startswith(b"HTTP/1.1 503 ")
        assert served.endpoint.held_bytes == 0


async def test_a_connection_that_waits_for_its_answer_keeps_little_more_than_one_read():
    async with serve() as served:
        peer = await served.connect()
        pipelined = b"GET /never HTTP/1.1\r\nhost: a\r\n\r\n" + b"x" * 150_000
        peer.writer.write(pipelined * 20)
        await is_true(lambda: served.endpoint.held_bytes)
        for _ in range(20):
            await asyncio.sleep(0.01)
        assert served.endpoint.held_bytes < 64 * 1024 + 256 * 1024


async def test_draining_closes_idle_connections_and_others_with_their_response():
    async with serve() as served:
        idle, busy = await served.connect(), await served.connect()
        await idle.ask(POST % (2, b"hi"))
        busy.writer.write(b"GET /never HTTP/1.1\r\nhost: a\r\n\r\n")
        await is_true(lambda: len(served.exchanges) == 2)
        closing = asyncio.create_task(served.endpoint.close(5.0))
        assert await idle.read_to_end() == b""
        served.exchanges[1].response.send_whole(200, JSON, b"late")
        head, body = await busy.read()
        assert (b"connection: close" in head, body) == (True, b"late")
        await closing
