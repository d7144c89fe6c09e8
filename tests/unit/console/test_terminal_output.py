import asyncio
import io

from console.machine.output import LINE_BYTES, Output


async def _follow(*chunks: bytes) -> str:
    stream, source = io.StringIO(), asyncio.StreamReader()
    for chunk in chunks:
        source.feed_data(chunk)
    source.feed_eof()
    await Output(stream).follow("web", source)
    return stream.getvalue()


async def test_every_line_begins_with_its_process():
    assert await _follow(b"one\ntw", b"o\n") == "web      │ one\nweb      │ two\n"


async def test_a_last_line_without_an_end_is_shown():
    assert await _follow(b"Killed") == "web      │ Killed\n"


async def test_a_line_without_end_does_not_grow_for_ever():
    shown = await _follow(b"x" * (LINE_BYTES * 3))
    assert shown.count("x") == LINE_BYTES * 3
    assert shown.count("\n") >= 2


async def test_a_reader_that_has_gone_away_stops_nothing():
    stream = io.StringIO()
    output = Output(stream)
    stream.close()
    output.say("nobody hears this")
    assert stream.closed
