from collections.abc import AsyncIterator

from console.streaming import sse


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_data_is_read_across_chunks_and_comments_are_passed_over():
    stream = chunks(b': keep-alive\n\ndata: {"a', b'":1}\r\n\nda', b"ta:[DONE]\n\n")
    assert [line async for line in sse.data_lines(stream)] == ['{"a":1}', "[DONE]"]


def test_an_event_is_one_line_of_json_whatever_it_holds():
    assert sse.event({"text": "a\n\nb"}, "text") == b'event: text\ndata: {"text":"a\\n\\nb"}\n\n'
