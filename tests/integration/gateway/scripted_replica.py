"""A small ASGI replica whose behaviour and faults are scripted by the prompt of each request.

Prompt words: `chunks=N`, `pause=seconds` between chunks, `die=N` (drops the connection after N chunks), `status=N`
with an error body, `silent` (no usage at all), `crlf`, `hang` before the first byte,
`fat=N` additional bytes in each chunk.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import Any

INPUT_TOKENS = 7


@dataclass
class ScriptedReplica:
    """Records its requests; `most` is the highest number of concurrent requests."""

    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    open: int = 0
    most: int = 0
    cancelled: int = 0
    transports: dict[int, Any] = field(default_factory=dict)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        fields = json.loads(body)
        self.requests.append(fields)
        self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await self._answer(fields, receive, send)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.open -= 1

    async def _answer(self, fields: dict[str, Any], receive: Any, send: Any) -> None:
        if "input" in fields:
            return await _send_json(send, 200, build_embeddings(fields))
        prompt = fields["messages"][-1]["content"] if "messages" in fields else fields["prompt"]
        words = dict(re.findall(r"(\w+)=([\d.]+)", str(prompt)))
        if status := words.get("status"):
            return await _send_json(
                send, int(status), {"object": "error", "message": "engine says no", "code": int(status)}
            )
        if "hang" in str(prompt):
            await asyncio.Event().wait()
        pause = float(words.get("pause", 0))
        count = int(words.get("chunks", 3))
        if not fields.get("stream"):
            await asyncio.sleep(pause)
            text = " ".join(f"w{n}" for n in range(count))
            message = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            body = {"id": "x", "object": "chat.completion", "created": 1, "model": fields["model"]}
            return await _send_json(send, 200, {**body, "choices": [message], "usage": build_usage(count)})
        work = asyncio.ensure_future(self._stream(fields, words, str(prompt), send))
        gone = asyncio.ensure_future(receive())
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if not work.done():
            work.cancel()
            self.cancelled += 1
        elif error := work.exception():
            raise error

    async def _stream(self, fields: dict[str, Any], words: dict[str, str], prompt: str, send: Any) -> None:
        options = {} if "silent" in prompt else fields.get("stream_options") or {}
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        die, fat = int(words.get("die", 10**9)), int(words.get("fat", 0))
        for event in build_stream(options, int(words.get("chunks", 3)), die, "crlf" in prompt, fat):
            if event is None:
                raise ConnectionAbortedError("scripted failure")
            await send({"type": "http.response.body", "body": event, "more_body": True})
            await asyncio.sleep(float(words.get("pause", 0)))
        await send({"type": "http.response.body", "body": b""})


def build_embeddings(fields: dict[str, Any]) -> dict[str, Any]:
    given = fields["input"] if isinstance(fields["input"], list) else [fields["input"]]
    data = [{"object": "embedding", "index": index, "embedding": [0.5, 0.25]} for index in range(len(given))]
    used = {"prompt_tokens": INPUT_TOKENS, "total_tokens": INPUT_TOKENS}
    return {"object": "list", "model": fields["model"], "data": data, "usage": used}


def build_usage(output: int) -> dict[str, Any]:
    return {
        "prompt_tokens": INPUT_TOKENS,
        "total_tokens": INPUT_TOKENS + output,
        "completion_tokens": output,
        "prompt_tokens_details": {"cached_tokens": 2},
    }


def build_stream(options: dict[str, Any], count: int, die: int = 10**9, crlf: bool = False, fat: int = 0) -> Any:
    """Yield the events of an engine with these stream options; None where it fails."""
    wants, continuous = options.get("include_usage"), options.get("continuous_usage_stats")
    yield b": hello\n\n"
    for n in range(count):
        if n == die:
            yield None
        chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        chunk["choices"] = [{"index": 0, "delta": {"content": f"w{n} é" + "x" * fat}, "finish_reason": None}]
        if wants:
            chunk["usage"] = build_usage(n + 1) if continuous else None
        yield _format_event(chunk, crlf)
    if wants:
        yield _format_event(
            {"id": "x", "object": "chat.completion.chunk", "choices": [], "usage": build_usage(count)}, crlf
        )
    yield b"data: [DONE]\n\n"


def _format_event(data: object, crlf: bool) -> bytes:
    end = b"\r\n\r\n" if crlf else b"\n\n"
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + end


async def _send_json(send: Any, status: int, data: object) -> None:
    head = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": json.dumps(data).encode()})
