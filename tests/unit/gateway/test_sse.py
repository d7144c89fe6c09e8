"""Splitting of byte streams into events, and stripping of usage."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sse import EventSplitter, EventTooLong, StreamOptions, extract_data, parse_event

STREAMS = {
    "lf": b'data: {"a":1}\n\n: comment\n\ndata: [DONE]\n\n',
    "crlf": b'data: {"a":1}\r\n\r\n: comment\r\n\r\ndata: [DONE]\r\n\r\n',
    "mixed": b'id: 7\r\ndata:{"a":1}\n\r\nevent: x\ndata: y\n\ndata: [DONE]\r\n\n',
}


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())
def test_events_are_the_same_wherever_the_bytes_are_cut(stream):
    whole = EventSplitter().feed(stream)
    assert len(whole) == 3
    assert b"".join(whole) == stream
    for cut in range(len(stream) + 1):
        splitter = EventSplitter()
        assert splitter.feed(stream[:cut]) + splitter.feed(stream[cut:]) == whole, cut
    splitter = EventSplitter()
    assert [event for place in range(len(stream)) for event in splitter.feed(stream[place : place + 1])] == whole


@given(st.lists(st.binary(max_size=12) | st.sampled_from([b"\r", b"\n", b"\r\n", b"\n\n", b"data: x"])))
def test_no_byte_is_lost_or_added(pieces):
    splitter = EventSplitter()
    events = [event for piece in pieces for event in splitter.feed(piece)]
    assert b"".join(events) + splitter.take_remainder() == b"".join(pieces)


def test_an_event_that_never_ends_is_refused():
    splitter = EventSplitter(limit=100)
    splitter.feed(b"data: " + b"x" * 90)
    with pytest.raises(EventTooLong):
        splitter.feed(b"x" * 10)


DATA = {
    "with a space": (b"data: x\n\n", b"x"),
    "without": (b"data:x\n\n", b"x"),
    "two lines": (b"data: x\ndata: y\n\n", b"x\ny"),
    "with other fields": (b"id: 1\r\nevent: e\r\ndata: x\r\n\r\n", b"x"),
    "comment": (b": data: x\n\n", None),
    "field named alike": (b"database: x\n\n", None),
}


@pytest.mark.parametrize(("event", "data"), DATA.values(), ids=DATA.keys())
def test_the_data_of_an_event(event, data):
    assert extract_data(event) == data


NONE, USAGE, ALL = (
    StreamOptions(),
    StreamOptions(include_usage=True),
    StreamOptions(include_usage=True, continuous_usage_stats=True),
)
CHUNK = b'data: {"choices": [{"delta": {"content": "\xc3\xa9\xff"}}], "usage": {"prompt_tokens": 3}}\n\n'
ONLY = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9}}\n\n'
CLIENT_BYTES = {
    "usage cut out": (CHUNK, NONE, b'data: {"choices": [{"delta": {"content": "\xc3\xa9\xff"}}]}\n\n'),
    "usage made null": (CHUNK, USAGE, CHUNK.replace(b'{"prompt_tokens": 3}', b"null")),
    "usage kept": (CHUNK, ALL, CHUNK),
    "usage first": (b'data:{"usage":null,"choices":[1]}\r\n\r\n', NONE, b'data:{"choices":[1]}\r\n\r\n'),
    "usage in the middle": (b'data: {"a":1 , "usage":{}, "b":2}\n\n', NONE, b'data: {"a":1, "b":2}\n\n'),
    "null asked for": (b'data: {"choices":[1],"usage":null}\n\n', USAGE, b'data: {"choices":[1],"usage":null}\n\n'),
    "nested usage": (b'data: {"choices":[{"usage":1}]}\n\n', NONE, b'data: {"choices":[{"usage":1}]}\n\n'),
    "usage-only chunk dropped": (ONLY, NONE, b""),
    "usage-only chunk kept": (ONLY, USAGE, ONLY),
    "its comment kept": (b": keep\n" + ONLY, NONE, b": keep\n\n"),
    "comment": (b": ping\r\n\r\n", NONE, b": ping\r\n\r\n"),
    "no JSON": (b"data: {oops\n\n", NONE, b"data: {oops\n\n"),
    "data over two lines": (b'data: {"a":1,\ndata: "usage":null}\n\n', NONE, b'data: {"a":1}\n\n'),
}


@pytest.mark.parametrize(("event", "options", "client_bytes"), CLIENT_BYTES.values(), ids=CLIENT_BYTES.keys())
def test_usage_that_the_client_did_not_request_is_stripped(event, options, client_bytes):
    assert parse_event(event, options).client_bytes == client_bytes


def test_parsing_an_event():
    assert parse_event(ONLY, NONE).usage == {"prompt_tokens": 3, "completion_tokens": 9}
    assert parse_event(CHUNK, NONE).output_chunks == 1
    assert parse_event(b"data: [DONE]\n\n", NONE).is_done
    assert parse_event(b'data: {"error": {"message": "x"}}\n\n', NONE).is_error
    assert parse_event(b"data: " + b"[" * 100_000 + b"\n\n", NONE).usage is None
