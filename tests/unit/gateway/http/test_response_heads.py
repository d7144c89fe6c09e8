"""Heads of replicas' responses."""

import pytest

from gateway.http.heads import CHUNKED, FieldNames, Refusal, ResponseHead, ResponseHeadParser, parse_response_head

NAMES = FieldNames(("content-type",))

ACCEPTED = {
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2": (200, 2, False),
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked": (200, CHUNKED, False),
    b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2": (200, 2, True),
    b"HTTP/1.1 200\r\ncontent-length: 2": (200, 2, False),
    b"HTTP/1.1 200 \r\ncontent-length: 2": (200, 2, False),
    b"HTTP/1.1 404 Not Found": (404, None, True),
    b"HTTP/1.0 200 OK\r\ncontent-length: 2": (200, 2, True),
    b"HTTP/1.1 204 No Content": (204, 0, False),
    b"HTTP/1.1 100 Continue": (100, 0, False),
}


@pytest.mark.parametrize(("head", "expected"), ACCEPTED.items())
def test_a_response_head_gives_status_length_and_whether_the_connection_ends(head, expected):
    parsed = parse_response_head(head, NAMES)
    assert isinstance(parsed, ResponseHead)
    assert (parsed.status, parsed.body_length, parsed.closes) == expected


REFUSED = (
    b"",
    b"HTTP/1.1",
    b"HTTP/1.1 20",
    b"HTTP/1.1 2000 OK",
    b"HTTP/1.1 099 OK",
    b"HTTP/1.1 600 OK",
    b"HTTP/1.1 2x0 OK",
    b"HTTP/1.1  200 OK",
    b"HTTP/2.0 200 OK",
    b"ICY 200 OK",
    b"HTTP/1.1 200 OK\nContent-Length: 2",
    b"HTTP/1.1 200 O\x00K",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2,2",
    b"HTTP/1.1 200 OK\r\nA: b\r\n c",
    b"HTTP/1.1 200 OK\r\nA : b",
    b"HTTP/1.1 200 OK\r\n" + b"\r\n".join([b"A: b"] * 300),
)


@pytest.mark.parametrize("head", REFUSED)
def test_malformed_response_heads_are_refused(head):
    assert isinstance(parse_response_head(head, NAMES), Refusal)


def test_a_repeated_head_is_recognised_whatever_its_length():
    parser = ResponseHeadParser(NAMES)
    start = b"HTTP/1.1 200 OK\r\ndate: x\r\nContent-Length: %d\r\ncontent-type: a"
    first, second, third = (parser.parse(start % length) for length in (5, 5, 77))
    assert first is second
    assert isinstance(third, ResponseHead)
    assert (third.body_length, third.fields) == (77, {"content-type": "a"})
    other = parser.parse(start.replace(b"200 OK", b"404 Not Found") % 5)
    assert isinstance(other, ResponseHead)
    assert other.status == 404
