"""Mutated requests and responses: nothing is accepted that llhttp refuses, and what is accepted is read alike.

FUZZ_SECONDS (default 2) is the time for each test, FUZZ_SEED (default 1) the seed.
"""

import os
import random
import time
from dataclasses import dataclass, field

import httptools
import pytest

from gateway.http.chunked_body import ChunkedBody, MalformedChunk
from gateway.http.heads import (
    CHUNKED,
    HEAD_END,
    FieldNames,
    Refusal,
    RequestHeadParser,
    ResponseHead,
    ResponseHeadParser,
)
from tests.unit.gateway.http.test_request_heads import REFUSED

SECONDS = float(os.environ.get("FUZZ_SECONDS", "2"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
NAMES = FieldNames(("authorization", "accept", "x-request-id"))

REQUESTS = [
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a:8001\r\nContent-Type: application/json\r\nContent-Length: 5\r\n"
    b"Authorization: Bearer mc_x\r\nAccept: */*\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\nX-A: b\r\n\r\n",
    b"GET /v1/models?x=1 HTTP/1.1\r\nHost: a\r\nX-Request-ID: 1\r\nConnection: keep-alive, x\r\n\r\n",
    b"GET http://a/v1/models HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"HEAD /health HTTP/1.0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhost: [::1]:80\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nhi",
    *[head + HEAD_END + b"0\r\n\r\n" for head in REFUSED.values() if len(head) < 200],
]
RESPONSES = [
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5\r\ndate: x\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\nhello",
    b"HTTP/1.0 500 \r\ncontent-length: 2\r\n\r\nhi",
    b"HTTP/1.1 503\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
]
PIECES = [
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\n\n", b"\x00", b"\x0b", b"\x0c", b"\x7f", b"\x80", b"\xff", b"\t", b" ",
    b":", b"::", b",", b";", b"0", b"5", b"+", b"-", b"a", b"A", b"\x1b", b"#", b"?", b"/", b"%0d%0a", b"HTTP/1.1",
    b"HTTP/1.0", b"HTTP/1.2", b"GET ", b"POST ", b"CONNECT ", b"Host: b\r\n", b"\r\nHost: a", b"\r\n ", b"\r\n\t",
    b"\r\nContent-Length: 5", b"\r\nContent-Length: 6", b"\r\ncontent-length:\t5 ", b"\r\nTransfer-Encoding: chunked",
    b"\r\nTransfer-Encoding : chunked", b"\r\ntransfer-encoding: x, chunked", b"\r\nConnection: close",
    b"\r\nConnection: upgrade", b"\r\nUpgrade: x", b"\r\nExpect: 100-continue", b"0\r\n\r\n", b"1\r\nx\r\n", b";a=b",
]  # fmt: skip


@dataclass
class Reader:
    """Callbacks of llhttp."""

    target: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    has_head: bool = False
    body: bytes = b""

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.has_head:  # those after it are trailers
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.has_head = True

    def on_body(self, part: bytes) -> None:
        self.body += part

    def on_message_begin(self) -> None:
        """Called by llhttp in any case."""

    def on_message_complete(self) -> None:
        """Called by llhttp in any case."""

    def get_fields(self) -> dict[str, str]:
        """The kept headers as this project reads them."""
        fields: dict[str, str] = {}
        for name, value in self.headers:
            role, text = name.lower().decode("ascii"), value.strip(b" \t").decode("latin-1")
            if role == "connection" and role in fields:
                fields[role] += f",{text}"
            elif role in NAMES.kept:
                fields.setdefault(role, text)
        return fields


def mutate(chance: random.Random, message: bytes) -> bytes:
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        at = chance.randrange(len(message) + 1)
        to = min(len(message), at + chance.choice((0, 0, 1, 1, 2, 8)))
        match chance.randrange(5):
            case 0:
                piece = bytes([chance.randrange(256)])
            case 1 | 2:
                piece = chance.choice(PIECES)
            case 3:
                start = chance.randrange(len(message) + 1)
                piece = message[start : start + chance.randrange(40)]
            case _:
                piece = message[at:to].swapcase()
        message = message[:at] + piece + message[to:]
    return message


def split_body(rest: bytes, length: int) -> tuple[bytes, bytes] | None:
    """Return the body and its encoded bytes, without what follows it; None if it is malformed or incomplete."""
    if length != CHUNKED:
        return rest[:length], rest[:length]
    chunks = ChunkedBody()
    try:
        body = chunks.feed(rest)
    except MalformedChunk:
        return None
    return (body, rest[: len(rest) - len(chunks.rest)]) if chunks.has_ended else None


def iterate_mutations(messages: list[bytes], seed: int):
    chance = random.Random(seed)
    ends_at = time.monotonic() + SECONDS
    while time.monotonic() < ends_at:
        for message in messages:
            yield mutate(chance, message) if chance.random() < 0.98 else message


def check_request(given: bytes, parser: RequestHeadParser) -> bool:
    """Compare one request; returns whether it was accepted."""
    end = given.find(HEAD_END)
    if end < 0:
        return False
    head = parser.parse(given[:end])
    if isinstance(head, Refusal):
        return False
    rest = given[end + 4 :]
    split = split_body(rest, head.body_length)
    if split is None:
        return False
    body, encoded = split
    reader = Reader()
    llhttp = httptools.HttpRequestParser(reader)
    is_upgrade = False
    try:
        llhttp.feed_data(given[: end + 4] + encoded)
    except httptools.HttpParserUpgrade:
        is_upgrade = True
    except httptools.HttpParserError as error:
        pytest.fail(f"llhttp refuses what is accepted here, {error}: {given!r}")
    assert reader.has_head, given
    assert llhttp.get_method().decode() == head.method, given
    target = reader.target.decode()
    path = target if target.startswith("/") or target == "*" else "/" + target.partition("://")[2].partition("/")[2]
    query = path.partition("?")[2]
    assert query == head.query, given
    assert "%" in path or path.partition("?")[0] == head.path, given
    fields = reader.get_fields()
    options = [option.strip(" \t").lower() for option in fields.get("connection", "").split(",")]
    assert int(fields.pop("content-length", "0")) == max(head.body_length, 0), given
    assert fields == head.fields, given
    assert ("close" in options or head.is_old) == head.closes, given
    assert is_upgrade or reader.body == body, given
    return True


def test_no_request_is_accepted_that_llhttp_refuses():
    parser = RequestHeadParser(NAMES)
    results = [check_request(given, parser) for given in iterate_mutations(REQUESTS, SEED)]
    assert sum(results) > 100
    assert results.count(False) > 100


def check_response(given: bytes, parser: ResponseHeadParser) -> bool:
    end = given.find(HEAD_END)
    head = parser.parse(given[:end]) if end >= 0 else Refusal(502, "")
    if not isinstance(head, ResponseHead) or head.status < 200:
        return False
    rest = given[end + 4 :]
    length = len(rest) if head.body_length is None else head.body_length
    split = split_body(rest, length)
    if split is None:
        return False
    body, encoded = split
    reader = Reader()
    llhttp = httptools.HttpResponseParser(reader)
    try:
        llhttp.feed_data(given[: end + 4] + encoded)
    except httptools.HttpParserUpgrade:
        return True
    except httptools.HttpParserError as error:
        pytest.fail(f"llhttp refuses what is accepted here, {error}: {given!r}")
    assert (reader.has_head, llhttp.get_status_code(), reader.body) == (True, head.status, body), given
    return True


def test_no_response_is_accepted_that_llhttp_refuses():
    parser = ResponseHeadParser(NAMES)
    results = [check_response(given, parser) for given in iterate_mutations(RESPONSES, SEED)]
    assert sum(results) > 100
    assert results.count(False) > 100
