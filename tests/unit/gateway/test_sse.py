"""Events cut out of a byte stream at any boundary, and read without changing what is not ours."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import splice
from gateway.sse import EventTooLong, Splitter, Wish, data_of, read

STREAMS = {
    "lf": b'data: {"a":1}\n\n: comment\n\ndata: [DONE]\n\n',
    "crlf": b'data: {"a":1}\r\n\r\n: comment\r\n\r\ndata: [DONE]\r\n\r\n',
    "mixed": b'id: 7\r\ndata:{"a":1}\n\r\nevent: x\ndata: y\n\ndata: [DONE]\r\n\n',
}


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())
def test_events_are_the_same_wherever_the_bytes_are_cut(stream):
    whole = Splitter().feed(stream)
    assert len(whole) == 3
    assert b"".join(whole) == stream
    for cut in range(len(stream) + 1):
        splitter = Splitter()
        assert splitter.feed(stream[:cut]) + splitter.feed(stream[cut:]) == whole, cut
    splitter = Splitter()
    assert [event for place in range(len(stream)) for event in splitter.feed(stream[place : place + 1])] == whole


@given(st.lists(st.binary(max_size=12) | st.sampled_from([b"\r", b"\n", b"\r\n", b"\n\n", b"data: x"])))
def test_no_byte_is_lost_or_added(pieces):
    splitter = Splitter()
    events = [event for piece in pieces for event in splitter.feed(piece)]
    assert b"".join(events) + splitter.rest() == b"".join(pieces)


def test_an_event_that_never_ends_is_given_up():
    splitter = Splitter(limit=100)
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
    assert data_of(event) == data


NONE, USAGE, ALL = Wish(), Wish(include_usage=True), Wish(include_usage=True, continuous_usage_stats=True)
CHUNK = b'data: {"choices": [{"delta": {"content": "\xc3\xa9\xff"}}], "usage": {"prompt_tokens": 3}}\n\n'
ONLY = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9}}\n\n'
SHOWN = {
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


@pytest.mark.parametrize(("event", "wish", "shown"), SHOWN.values(), ids=SHOWN.keys())
def test_what_the_caller_is_shown(event, wish, shown):
    assert read(event, wish).shown == shown


def test_what_an_event_tells():
    assert read(ONLY, NONE).usage == {"prompt_tokens": 3, "completion_tokens": 9}
    assert read(CHUNK, NONE).pieces == 1
    assert read(b"data: [DONE]\n\n", NONE).is_done
    assert read(b'data: {"error": {"message": "x"}}\n\n', NONE).is_error
    assert read(b"data: " + b"[" * 100_000 + b"\n\n", NONE).usage is None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.sampled_from(["a", "usage", "é", "b c", '"']) | st.text(max_size=3), VALUES, max_size=5)


@given(OBJECTS, st.sampled_from([None, 2]), st.booleans())
def test_cutting_a_member_equals_parsing_and_deleting_it(fields, indent, ascii_only):
    text = json.dumps(fields, indent=indent, ensure_ascii=ascii_only)
    expected = {name: value for name, value in fields.items() if name != "usage"}
    cut = splice.cut(text, "usage")
    assert json.loads(cut) == expected
    assert list(json.loads(splice.insert(cut, "usage", [1]))) == ["usage", *expected]
    assert json.loads(splice.clear(text, "usage")) == {**fields, **({"usage": None} if "usage" in fields else {})}
    assert "usage" in fields or cut == text
