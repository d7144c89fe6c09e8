"""Editing of streams: recognized events equal parsed ones; usage, output and times."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import sse, stream_editor
from gateway.sse import EventSplitter, EventTooLong, StreamOptions
from gateway.stream_editor import OutputTimes, StreamEditor
from gateway.usage_metering import TokenCounts, parse_usage

NONE, USAGE, ALL = StreamOptions(), StreamOptions(True), StreamOptions(True, True)
COUNTS = st.none() | st.integers(0, 10**6) | st.sampled_from(["5", -1, 1.5])
USAGES = st.none() | st.fixed_dictionaries(
    {"prompt_tokens": st.integers(0, 99)},
    optional={
        "total_tokens": COUNTS,
        "completion_tokens": COUNTS,
        "prompt_tokens_details": st.none() | st.fixed_dictionaries({"cached_tokens": COUNTS}) | st.just({}),
        "usage": st.just({"prompt_tokens": 1}),
    },
) | st.just({}) | st.fixed_dictionaries({"completion_tokens": COUNTS})  # fmt: skip
TEXTS = st.text(max_size=8) | st.sampled_from(
    ["", "é", "\ud800", '"usage":{}', ',"usage":{"prompt_tokens":1}}', "\n\n"]
)
DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "role": st.just("assistant"),
        "content": TEXTS | st.none(),
        "reasoning_content": TEXTS,
        "tool_calls": st.none() | st.just([{"index": 0}]),
        "usage": st.just({"prompt_tokens": 8}),
    },
)
ENDS = {"logprobs": st.none() | st.just({"content": []}), "finish_reason": st.none() | st.just("stop")}
CHOICES = st.fixed_dictionaries({"index": st.integers(0, 3), "delta": DELTAS}, optional=ENDS) | st.fixed_dictionaries(
    {"index": st.integers(0, 3), "text": TEXTS}, optional=ENDS
)
HEADS = st.fixed_dictionaries(
    {"id": st.just("x")},
    optional={"created": st.integers(0, 9), "model": st.just("a/b:c"), "choices": st.just([]), "usage": st.none()},
)
CHUNKS = st.tuples(
    HEADS,
    st.fixed_dictionaries(
        {"choices": st.lists(CHOICES, max_size=2) | CHOICES.map(lambda choice: [choice])},
        optional={"usage": USAGES, "error": st.just({"message": "x"}), "prompt_token_ids": st.none()},
    ),
).map(lambda parts: [*parts[0].items(), *parts[1].items()])
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (",", ": "), (" ,", ":")])
LINE_ENDS = st.sampled_from([b"\n\n", b"\n\n", b"\r\n\r\n"])


def serialize(members, separators: tuple[str, str], ascii_only: bool) -> bytes:
    """Serialize members of which several may have one name."""
    texts = [
        json.dumps(name) + separators[1] + json.dumps(value, separators=separators, ensure_ascii=ascii_only)
        for name, value in members
    ]
    return ("{" + separators[0].join(texts) + "}").encode("utf-8", "surrogatepass")


OTHER_EVENTS = [b": ping\n\n", b"data: [DONE]\n\n", b"data: {oops\n\n", b"\n\n", b"id: 1\ndata: 5\n\n"]
EVENTS = st.builds(
    lambda chunk, separators, ascii_only, end: b"data: " + serialize(chunk, separators, ascii_only) + end,
    CHUNKS, SEPARATORS, st.booleans(), LINE_ENDS,
) | st.sampled_from(OTHER_EVENTS)  # fmt: skip


@given(st.lists(EVENTS, max_size=6), st.sampled_from([NONE, USAGE, ALL]), st.data())
def test_recognized_events_equal_parsed_ones_wherever_the_bytes_are_cut(events, options, data):
    stream = b"".join(events)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    editor = StreamEditor(options)
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    edited = b"".join(editor.feed(piece, 0.0) for piece in pieces)

    expected, usage, output_chunks, has_error = [], None, 0, False
    for event in EventSplitter().feed(stream):
        parsed = sse.parse_event(event, options)
        expected.append(parsed.client_bytes)
        usage = parse_usage(parsed.usage) or usage
        output_chunks += parsed.output_chunks
        has_error |= parsed.is_error
        if parsed.is_done:
            break
    assert edited == b"".join(expected)
    assert editor.get_counts(4) == (usage or TokenCounts(4, 0, output_chunks, estimated=True))
    assert (editor.output_chunks, editor.has_error) == (output_chunks, has_error)


HEAD = b'data: {"id":"cmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":['
USED = (
    b',"usage":{"prompt_tokens":3,"total_tokens":5,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":1}}'
)
ROLE = HEAD + b'{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]' + USED
TEXT = HEAD + b'{"index":0,"delta":{"content":"\\u00e9\xc3\xa9"},"logprobs":null,"finish_reason":null}]' + USED
END = HEAD + b'{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"stop","stop_reason":null}]' + USED
COMPLETION = HEAD + b'{"index":0,"text":" x","logprobs":null,"finish_reason":null,"stop_reason":null}]' + USED
ORDINARY = {"role": (ROLE, 0), "text": (TEXT, 1), "end": (END, 0), "completion": (COMPLETION, 1)}


@pytest.mark.parametrize(("event", "output_chunks"), ORDINARY.values(), ids=ORDINARY.keys())
def test_the_chunks_of_vllm_are_recognized_without_parsing(event, output_chunks, monkeypatch):
    monkeypatch.setattr(stream_editor, "sse", None)
    for options, tail in ((NONE, b"}"), (USAGE, b',"usage":null}'), (ALL, USED + b"}")):
        editor = StreamEditor(options)
        assert editor.feed(event + b"}\n\n", 1.0) == event.removesuffix(USED) + tail + b"\n\n"
        assert editor.get_counts(9) == TokenCounts(3, 1, 2)
        assert editor.output_chunks == output_chunks
    usage_only = HEAD + b"]" + USED + b"}\n\n"
    assert StreamEditor(NONE).feed(usage_only, 1.0) == b""
    assert StreamEditor(USAGE).feed(usage_only, 1.0) == usage_only


def test_the_last_usage_counts_also_of_a_stream_that_is_cut():
    editor = StreamEditor(NONE)
    for output in (1, 2, 3):
        editor.feed(TEXT.replace(b'"completion_tokens":2', b'"completion_tokens":%d' % output) + b"}\n\n", 0.0)
    editor.feed(TEXT[:-5], 0.0)
    assert editor.get_counts(9) == TokenCounts(3, 1, 3)


def test_without_usage_output_chunks_are_counted_as_an_estimate():
    editor = StreamEditor(NONE)
    for event in (ROLE, TEXT, TEXT, END):
        editor.feed(event.removesuffix(USED) + b"}\n\n", 0.0)
    assert editor.get_counts(9) == TokenCounts(9, 0, 2, estimated=True)


def test_the_first_output_is_the_first_content_and_not_the_role():
    editor = StreamEditor(NONE)
    for now, event in ((1.0, ROLE), (2.0, TEXT), (2.5, TEXT), (4.5, TEXT), (9.0, END)):
        editor.feed(event + b"}\n\n", now)
    times = editor.output_times
    assert (times.first_at, times.get_mean_gap(), times.get_p99_gap()) == (2.0, 1.25, 2.0)


def test_a_stream_with_one_output_has_no_gaps():
    times = OutputTimes()
    assert (times.first_at, times.get_mean_gap(), times.get_p99_gap()) == (None, None, None)
    times.add(5.0)
    assert (times.first_at, times.get_mean_gap(), times.get_p99_gap()) == (5.0, None, None)


@pytest.mark.parametrize(("gaps", "rank"), [(1, 1), (99, 1), (100, 2), (250, 3), (6399, 64), (20_000, 64)])
def test_the_99th_percentile_of_gaps_has_the_nearest_rank(gaps, rank):
    times, now = OutputTimes(), 0.0
    for number in range(gaps + 1):
        now += number * 7919 % gaps + 1.0 if number else 0.0
        times.add(now)
    values = sorted((number * 7919 % gaps + 1.0 for number in range(1, gaps + 1)), reverse=True)
    assert times.get_p99_gap() == values[rank - 1]
    assert times.get_mean_gap() == pytest.approx(sum(values) / gaps)


HOSTILE = {"no newline": b"data: " + b"x" * 100_000, "lines": b"data: x\n" * 12_000, "invalid UTF-8": b"\xff" * 100_000}


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE.keys())
def test_an_event_that_never_ends_is_refused_before_it_fills_the_memory(piece):
    editor = StreamEditor(NONE)
    for _ in range(10):
        editor.feed(piece, 0.0)
    with pytest.raises(EventTooLong):
        editor.feed(piece, 0.0)


def test_nothing_follows_done():
    editor = StreamEditor(NONE)
    assert editor.feed(b"data: [DONE]\n\n" + TEXT + b"}\n\n", 0.0) == b"data: [DONE]\n\n"
    assert editor.is_done
    assert editor.feed(TEXT + b"}\n\n", 0.0) == b""
    rest = StreamEditor(NONE)
    assert rest.feed(b"data: [DONE]", 0.0) == b""
    assert rest.finish(0.0) == b"data: [DONE]"
    cut = StreamEditor(NONE)
    assert (cut.feed(b"data: x", 0.0), cut.finish(0.0), cut.is_done) == (b"", b"", False)
