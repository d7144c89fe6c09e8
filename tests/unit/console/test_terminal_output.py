import asyncio
import io

from console.machine.terminal_output import MAX_LINE_BYTES, TerminalOutput


async def _relay(*chunks: bytes) -> str:
    stream, source = io.StringIO(), asyncio.StreamReader()
    for chunk in chunks:
        source.feed_data(chunk)
    source.feed_eof()
    await TerminalOutput(stream).relay_lines("web", source)
    return stream.getvalue()


async def test_every_line_begins_with_its_process():
    assert await _relay(b"one\ntw", b"o\n") == "web      │ one\nweb      │ two\n"


async def test_a_last_line_without_an_end_is_shown():
    assert await _relay(b"Killed") == "web      │ Killed\n"


async def test_a_line_without_end_is_split():
    shown = await _relay(b"x" * (MAX_LINE_BYTES * 3))
    assert shown.count("x") == MAX_LINE_BYTES * 3
    assert shown.count("\n") >= 2


async def test_a_closed_stream_is_ignored():
    stream = io.StringIO()
    output = TerminalOutput(stream)
    stream.close()
    output.write_console_line("after the stream is closed")
    assert stream.closed
