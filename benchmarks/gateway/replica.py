"""The replica behind all servers: `python -m benchmarks.gateway.replica DESCRIPTOR…`, one process for all addresses.

The descriptors are of sockets that are bound.

A request without `stream` gets the same answer at once. A streamed one names its pace in the prompt, which every server
forwards: "64 chunks, one every 20 ms". As vLLM does, each chunk has cumulative usage if the request asks for it.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
from typing import cast

import uvloop

_CHOICE = {
    "index": 0, "message": {"role": "assistant", "content": "Hello."}, "logprobs": None, "finish_reason": "stop"
}  # fmt: skip
_HEADER = {"id": "chatcmpl-7c1f0a52be9d4e38", "object": "chat.completion", "created": 1790000000, "model": "bench"}
_USAGE = {"prompt_tokens": 9, "total_tokens": 11, "completion_tokens": 2}
ANSWER = json.dumps(_HEADER | {"choices": [_CHOICE], "usage": _USAGE}, separators=(",", ":")).encode()
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER) + ANSWER
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
_CHUNK_START = (
    b'data: {"id":"chatcmpl-7c1f0a52be9d4e38","object":"chat.completion.chunk","created":1790000000,"model":"bench",'
)
CHUNK = (
    _CHUNK_START + b'"choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}]%b}\n\n'
)
USAGE = b',"usage":{"prompt_tokens":9,"total_tokens":%d,"completion_tokens":%d}'
USAGE_CHUNK = _CHUNK_START + b'"choices":[]%b}\n\n'
DONE = b"data: [DONE]\n\n"
END = b"0\r\n\r\n"

HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
IS_STREAMED = re.compile(rb'"stream": ?true')
PACE = re.compile(rb"(\d+) chunks, one every (\d+) ms")


def frame(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Replica(asyncio.Protocol):
    """One connection: requests with a Content-Length, one after the other."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport
        self._next_chunk: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._next_chunk:
            self._next_chunk.cancel()

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data if self._buffer else data
        while (end := data.find(HEAD_END)) >= 0:
            length = LENGTH.search(data, 0, end)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(data) < size:
                break
            request, data = data[:size], data[size:]
            if IS_STREAMED.search(request, end):
                self._start_stream(request)
            else:
                self._transport.write(WHOLE)
        self._buffer = data

    def _start_stream(self, request: bytes) -> None:
        pace = PACE.search(request)
        if pace is None:
            self._transport.abort()
            return
        self._chunks, self._pause, self._sent = int(pace[1]), int(pace[2]) / 1000, 0
        self._has_usage_chunk = b"include_usage" in request
        self._has_usage = b"continuous_usage_stats" in request
        self._transport.write(STREAM_HEAD)
        self._send_chunk()

    def _send_chunk(self) -> None:
        self._sent += 1
        usage = USAGE % (self._sent + 9, self._sent) if self._has_usage else b""
        data = frame(CHUNK % usage)
        if self._sent < self._chunks:
            self._next_chunk = asyncio.get_running_loop().call_later(self._pause, self._send_chunk)
        else:
            if self._has_usage_chunk:
                data += frame(USAGE_CHUNK % (USAGE % (self._sent + 9, self._sent)))
            data += frame(DONE) + END
        self._transport.write(data)


async def serve(descriptors: list[int]) -> None:
    loop = asyncio.get_running_loop()
    for descriptor in descriptors:
        await loop.create_server(Replica, sock=socket.socket(fileno=descriptor), backlog=4096)
    await loop.create_future()


if __name__ == "__main__":
    uvloop.run(serve([int(descriptor) for descriptor in sys.argv[1:]]))
