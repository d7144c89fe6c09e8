"""The chunked transfer coding, in pieces of any size."""

import pytest

from gateway.http.chunked_body import LAST_CHUNK, ChunkedBody, MalformedChunk, encode_chunk


def decode(given: bytes, size: int) -> tuple[ChunkedBody, bytes]:
    """Decode in pieces of `size` bytes until the body has ended."""
    body, decoded = ChunkedBody(), b""
    for start in range(0, len(given), size):
        decoded += body.feed(given[start : start + size])
        if body.has_ended:
            break
    return body, decoded


BODY = b"".join((encode_chunk(b"hello"), b"00A\r\n0123456789\r\n", encode_chunk(b"x" * 300), LAST_CHUNK))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 1000])
def test_a_body_is_decoded_whatever_pieces_it_arrives_in(size):
    given = BODY + b"GET / HTTP/1.1"
    body, decoded = decode(given, size)
    assert decoded == b"hello0123456789" + b"x" * 300
    assert body.has_ended
    assert given.startswith(BODY + body.rest)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_trailers_are_dropped(size):
    body, decoded = decode(b"1\r\na\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n", size)
    assert (decoded, body.has_ended, body.rest) == (b"a", True, b"")


def test_many_tiny_chunks_in_one_read_are_refused_where_asked_for():
    tiny, small = encode_chunk(b"x") * 40_000, encode_chunk(b"x" * 32) * 5_000
    with pytest.raises(MalformedChunk):
        ChunkedBody(refuses_tiny=True).feed(tiny)
    with pytest.raises(MalformedChunk):
        ChunkedBody(refuses_tiny=True).feed(encode_chunk(b"x" * 100_000) + tiny)
    assert ChunkedBody(refuses_tiny=True).feed(encode_chunk(b"x") * 1000) == b"x" * 1000
    assert ChunkedBody(refuses_tiny=True).feed(small) == b"x" * 160_000
    assert ChunkedBody().feed(tiny) == b"x" * 40_000


MALFORMED = (
    b"\r\n",
    b"g\r\n",
    b"-1\r\n",
    b"+1\r\n",
    b"0x1\r\n",
    b"1_0\r\n",
    b" 1\r\n",
    b"1 \r\n",
    b"1;a=b\r\n",
    b"1\n",
    b"1\ra",
    b"1\r\nab\r\n",
    b"1\r\na\n",
    b"1\r\na0\r\n",
    b"1" * 40,
    b"fffffffffffffffff\r\n",
    b"0\r\nA : b\r\n\r\n",
    b"0\r\nA\x00: b\r\n\r\n",
    b"0\r\n b\r\n\r\n",
    b"0\r\nContent-Length: 1\r\n\r\n",
    b"0\r\n" + b"A: " + b"b" * 9000,
)


@pytest.mark.parametrize("given", MALFORMED)
@pytest.mark.parametrize("size", [1, 10_000])
def test_malformed_chunks_are_refused(given, size):
    with pytest.raises(MalformedChunk):
        decode(given, size)
