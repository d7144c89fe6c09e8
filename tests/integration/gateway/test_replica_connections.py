"""Connections to replicas, over sockets: framing, reuse, deadlines, back-pressure, and hostile responses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from console.machine.embedded_servers import find_free_port
from gateway.http.heads import FieldNames, ResponseHead
from gateway.http.replica_connection import Failure
from gateway.http.replica_pool import ReplicaExchange, ReplicaLimits, ReplicaPool
from tests.integration.gateway.conftest import until

OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"
HELLO = OK + b"content-length: 5\r\n\r\nhello"
STREAM = OK + b"transfer-encoding: chunked\r\n\r\n"


@dataclass
class Upstream:
    """A server that answers request n with response n as raw bytes; None closes the connection."""

    responses: list[bytes | None]
    ends: bool = False  # closes the connection after the last response
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    closed: int = 0
    address: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                response = self.responses[len(self.requests) - 1]
                if response is None:
                    break
                writer.write(response)
                await writer.drain()
                if self.ends and len(self.requests) == len(self.responses):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed += 1
            writer.close()


@dataclass
class Collected:
    """A `ReplicaListener` that keeps everything."""

    head: ResponseHead | None = None
    body: bytes = b""
    has_ended: bool = False
    failure: Failure | None = None
    reason: str = ""

    def response_began(self, head: ResponseHead) -> None:
        assert self.head is None
        self.head = head

    def response_data(self, data: bytes) -> None:
        assert self.head
        assert data
        self.body += data

    def response_ended(self) -> None:
        assert not self.is_over
        self.has_ended = True

    def response_failed(self, failure: Failure, reason: str) -> None:
        assert not self.is_over
        self.failure, self.reason = failure, reason

    @property
    def is_over(self) -> bool:
        return self.has_ended or self.failure is not None

    async def over(self) -> Collected:
        async def check() -> bool:
            return self.is_over

        await until(check)
        return self


@asynccontextmanager
async def upstream(*responses: bytes | None, ends: bool = False) -> AsyncIterator[Upstream]:
    served = Upstream(list(responses), ends)
    server = await asyncio.start_server(served.serve, "127.0.0.1")
    served.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield served
    server.close()


@asynccontextmanager
async def pool(**limits: float) -> AsyncIterator[ReplicaPool]:
    made = ReplicaPool(ReplicaLimits(**limits), FieldNames(("content-type",)))
    yield made
    made.close()


def post(sender: ReplicaPool, address: str, body: bytes = b"{}") -> tuple[Collected, ReplicaExchange]:
    listener = Collected()
    return listener, sender.send(address, "/v1/x", b"x-a: b\r\n", body, listener)


@pytest.mark.parametrize("address", ["127.0.0.1:65536", "127.0.0.1:port", "127.0.0.1:-1"])
async def test_an_address_to_which_nothing_can_connect_is_reported(address):
    async with pool() as sender:
        answer = await post(sender, address)[0].over()
        assert answer.failure is Failure.UNREACHABLE
        assert answer.reason


async def test_a_request_that_fails_at_its_deadline_leaves_the_deadlines_of_others(caplog):
    class Broken(Collected):
        def response_failed(self, failure: Failure, reason: str) -> None:
            raise RuntimeError("broken")

    async with upstream(OK) as served, upstream(OK) as other, pool(silence_seconds=0.2) as sender:
        sender.send(served.address, "/v1/x", b"", b"{}", Broken())

        async def is_logged() -> bool:
            return "RuntimeError: broken" in caplog.text

        await until(is_logged)
        assert (await post(sender, other.address)[0].over()).failure is Failure.TIMED_OUT


async def test_a_request_is_sent_whole_and_its_response_received():
    async with upstream(HELLO) as served, pool() as sender:
        answer = await post(sender, served.address, b"body")[0].over()
        assert answer.head
        assert (answer.head.status, answer.head.fields["content-type"], answer.body) == (200, "text/plain", b"hello")
        host = served.address.encode()
        assert served.requests == [
            b"POST /v1/x HTTP/1.1\r\nhost: " + host + b"\r\nx-a: b\r\ncontent-length: 4\r\n\r\nbody"
        ]


async def test_connections_are_reused_and_requests_at_the_same_time_get_their_own():
    async with upstream(HELLO, HELLO, HELLO, HELLO) as served, pool() as sender:
        await post(sender, served.address)[0].over()
        await post(sender, served.address)[0].over()
        assert served.connections == 1
        first, second = post(sender, served.address)[0], post(sender, served.address)[0]
        await first.over()
        await second.over()
        assert served.connections == 2


async def test_an_idle_connection_is_closed_after_its_time():
    async with upstream(HELLO, HELLO) as served, pool(keep_seconds=0.3) as sender:
        await post(sender, served.address)[0].over()

        async def is_closed() -> bool:
            return served.closed == 1

        await until(is_closed)
        await post(sender, served.address)[0].over()
        assert served.connections == 2


STREAMS = {
    "one piece": (STREAM + b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    "two chunks": (STREAM + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world"),
    "trailers": (STREAM + b"5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n", b"hello"),
    "after informational heads": (b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + HELLO, b"hello"),
    "invalid UTF-8": (STREAM + b"2\r\n\xff\xfe\r\n0\r\n\r\n", b"\xff\xfe"),
}


@pytest.mark.parametrize(("given", "body"), STREAMS.values(), ids=STREAMS.keys())
async def test_complete_responses_leave_the_connection_reusable(given, body):
    async with upstream(given, HELLO) as served, pool() as sender:
        answer = await post(sender, served.address)[0].over()
        assert (answer.body, answer.has_ended) == (body, True)
        assert (await post(sender, served.address)[0].over()).body == b"hello"
        assert served.connections == 1


SINGLE = {
    "close": OK + b"connection: close\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    "excess after the length": HELLO + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
    "excess after the last chunk": STREAM + b"5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n",
}


@pytest.mark.parametrize("given", SINGLE.values(), ids=SINGLE.keys())
async def test_a_connection_that_closes_or_sends_too_much_is_not_reused(given):
    async with upstream(given, HELLO) as served, pool() as sender:
        assert (await post(sender, served.address)[0].over()).body == b"hello"
        assert (await post(sender, served.address)[0].over()).body == b"hello"
        assert served.connections == 2


async def test_a_body_may_end_with_the_connection():
    async with upstream(OK + b"\r\nhello", ends=True) as served, pool() as sender:
        answer = await post(sender, served.address)[0].over()
        assert (answer.body, answer.has_ended) == (b"hello", True)


UNREACHABLE = {
    "closed at once": None,
    "closed in the head": b"HTTP/1.1 200 OK\r\ncontent-ty",
    "closed after the head": STREAM,
    "empty with status 200": OK + b"content-length: 0\r\n\r\n",
    "no HTTP": b"\x15\x03\x01\x00\x02\x02\x0a\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\ncontent-length: 5\n\nhello\r\n\r\n",
    "control character": b"HTTP/1.1 200 OK\r\na: \x00\r\ncontent-length: 5\r\n\r\nhello",
    "two lengths": OK + b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello",
    "length and chunks": OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "many informational heads": b"HTTP/1.1 100 Continue\r\n\r\n" * 50 + HELLO,
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
    "endless head": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000,
    "long head line": b"HTTP/1.1 200 OK\r\na: " + b"x" * 200_000 + b"\r\n\r\n",
    "malformed first chunk": STREAM + b"x\r\nhello",
}


@pytest.mark.parametrize("given", UNREACHABLE.values(), ids=UNREACHABLE.keys())
async def test_what_fails_before_the_first_byte_of_a_body_is_unreachable(given):
    async with upstream(given, ends=True) as served, pool() as sender:
        answer = await post(sender, served.address)[0].over()
        assert (answer.failure, answer.head) == (Failure.UNREACHABLE, None)
        assert answer.reason


LOST = {
    "closed within the length": OK + b"content-length: 50\r\n\r\nhello",
    "closed within a chunk": STREAM + b"50\r\nhello",
    "closed without the last chunk": STREAM + b"5\r\nhello\r\n",
}


@pytest.mark.parametrize("given", LOST.values(), ids=LOST.keys())
async def test_what_ends_after_the_first_byte_of_a_body_is_lost(given):
    async with upstream(given, ends=True) as served, pool() as sender:
        answer = await post(sender, served.address)[0].over()
        assert (answer.failure, answer.body) == (Failure.LOST, b"hello")


MALFORMED = {
    "chunk longer than its size": STREAM + b"5\r\nhello!\r\n0\r\n\r\n",
    "malformed size": STREAM + b"5\r\nhello\r\n-1\r\n",
    "malformed trailers": STREAM + b"5\r\nhello\r\n0\r\na : b\r\n\r\n",
    "trailers that lie": STREAM + b"5\r\nhello\r\n0\r\ncontent-length: 3\r\n\r\n",
    "endless trailers": STREAM + b"5\r\nhello\r\n0\r\n" + b"a: b\r\n" * 9000,
}


@pytest.mark.parametrize("given", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_body_never_counts_as_complete(given):
    async with upstream(given) as served, pool() as sender:
        answer = await post(sender, served.address)[0].over()
        assert not answer.has_ended
        assert answer.failure is (Failure.LOST if answer.head else Failure.UNREACHABLE)


async def test_nobody_listens():
    async with pool() as sender:
        answer = await post(sender, f"127.0.0.1:{find_free_port()}")[0].over()
        assert answer.failure is Failure.REFUSED


async def test_a_replica_that_sends_nothing_in_time():
    async with upstream(b"", OK + b"content-length: 9\r\n\r\nhello") as served, pool(silence_seconds=0.3) as sender:
        assert (await post(sender, served.address)[0].over()).failure is Failure.TIMED_OUT
        answer = await post(sender, served.address)[0].over()
        assert (answer.failure, answer.body) == (Failure.LOST, b"hello")


async def test_a_cancelled_request_closes_its_connection_and_is_silent():
    async with upstream(STREAM + b"5\r\nhello\r\n", HELLO) as served, pool() as sender:
        answer, exchange = post(sender, served.address)

        async def has_begun() -> bool:
            return bool(answer.body)

        await until(has_begun)
        exchange.cancel()

        async def is_closed() -> bool:
            return served.closed == 1

        await until(is_closed)
        assert not answer.is_over
        post(sender, served.address)[1].cancel()
        assert (await post(sender, served.address)[0].over()).body == b"hello"


async def test_an_ended_request_does_not_touch_the_connection_that_another_one_reuses():
    async with upstream(HELLO, HELLO) as served, pool() as sender:
        first, exchange = post(sender, served.address)
        await first.over()
        second = post(sender, served.address)[0]
        exchange.pause()
        exchange.cancel()
        assert (await second.over()).body == b"hello"
        assert served.connections == 1


async def test_a_paused_response_is_not_read_and_not_taken_for_silent():
    size = 20_000_000
    async with (
        upstream(OK + b"content-length: %d\r\n\r\n" % size + b"x" * size, b"") as served,
        pool(silence_seconds=0.3) as sender,
    ):
        answer, exchange = post(sender, served.address)

        async def has_begun() -> bool:
            return bool(answer.body)

        await until(has_begun)
        exchange.pause()
        received = len(answer.body)
        assert (await post(sender, served.address)[0].over()).failure is Failure.TIMED_OUT
        assert len(answer.body) == received < size
        exchange.resume()
        assert len((await answer.over()).body) == size
