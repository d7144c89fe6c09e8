"""Measures what reading request bodies and editing streams costs the gateway, in CPU time of one core.

`python -m benchmarks.bodies_and_chunks`. Small bodies and chunks in microseconds, expensive bodies in milliseconds;
those that the gateway reads in a worker process are marked, because they do not block its event loop.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from gateway.request_validation import InferencePath, ValidatedBody, is_quick_to_validate, validate_body
from gateway.sse import StreamOptions
from gateway.stream_editor import StreamEditor
from gateway.usage_metering import count_response_tokens

ROUNDS = 7
CONTENT = "Explain the difference between TCP and UDP in two sentences, please. " * 3
MESSAGES = [{"role": "system", "content": "You are helpful."}, {"role": "user", "content": CONTENT}]
CHAT = {"model": "acme/chat", "messages": MESSAGES, "temperature": 0.7, "max_tokens": 256}
BODIES = {
    "chat": CHAT,
    "chat, stream": CHAT | {"stream": True},
    "chat, stream with options": CHAT | {"stream": True, "stream_options": {"include_usage": True}},
}
HEAD = '{"id":"chatcmpl-2f4c","object":"chat.completion.chunk","created":1763800000,"model":"acme/chat","choices":['
CHOICE = '{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}]'
USAGE = '"usage":{"prompt_tokens":61,"total_tokens":93,"completion_tokens":32}}'
CHUNK = f"data: {HEAD}{CHOICE},{USAGE}\n\n".encode()
RESPONSE = {"id": "x", "choices": [{"message": {"content": "x" * 2000}}], "usage": {"prompt_tokens": 9}, "n": None}
START = '{"model":"chat","messages":[{"role":"user","content":"x"}],'
EXPENSIVE = {
    "98 kB of unknown members with stream options": START
    + '"stream":true,"stream_options":{},' + ",".join(f'"a{n}":0' for n in range(10_000)) + "}",
    "98 kB of equal members with stream options": START
    + '"stream":true,"stream_options":{"x":[]},' + ",".join(['"a":0'] * 16_000) + "}",
    "0.76 MiB of nested content": '{"model":"chat","messages":[{"role":"user","content":[{"x":'
    + "[" * 95 + ",".join(['"y"'] * 200_000) + "]" * 95 + "}]}]}",
    "0.5 MiB of text": START + '"x":"' + "y" * 520_000 + '"}',
    "59 kB of lists, the most that is read on the loop": START + '"x":[' + ",".join(["[]"] * 9_900) + "]}",
    "9 MiB of text": START + '"x":"' + "y" * 9 * 2**20 + '"}',
    "9 MiB of lists": START + '"x":[' + ",".join(["[]"] * 3 * 2**20) + "]}",
}  # fmt: skip


def measure(work: Callable[[], object], count: int) -> float:
    """Return the CPU seconds of one call, the least of ROUNDS."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(count):
            work()
        best = min(best, (time.process_time() - started) / count)
    return best


def main() -> None:
    for name, fields in BODIES.items():
        body = json.dumps(fields).encode()
        valid = validate_body(InferencePath.CHAT, body)
        assert isinstance(valid, ValidatedBody)
        validation = measure(lambda body=body: validate_body(InferencePath.CHAT, body), 5000)
        building = measure(valid.build_upstream_body, 5000)
        with_cap = measure(lambda valid=valid: valid.build_upstream_body(output_cap=9), 5000)
        print(f"{name}, {len(body)} bytes: validation {validation * 1e6:.1f} µs")
        print(f"    upstream body {building * 1e6:.1f} µs, with an output cap {with_cap * 1e6:.1f} µs")
    for options in (StreamOptions(), StreamOptions(True), StreamOptions(True, True)):
        editor = StreamEditor(options)
        seconds = measure(lambda editor=editor: editor.feed(CHUNK, 1.0), 20_000)
        print(f"chunk of {len(CHUNK)} bytes, {options}: {seconds * 1e6:.1f} µs")
    for size in (2000, 10_000_000):
        RESPONSE["choices"] = [{"message": {"content": "x" * size}}]
        body = json.dumps(RESPONSE).encode()
        seconds = measure(lambda body=body: count_response_tokens(body, 1), 1000)
        print(f"usage of a response of {len(body)} bytes: {seconds * 1e6:.1f} µs")
    for name, text in EXPENSIVE.items():
        body = text.encode()
        place = "loop" if is_quick_to_validate(body) else "worker"
        valid = validate_body(InferencePath.CHAT, body)
        seconds = measure(lambda body=body: validate_body(InferencePath.CHAT, body), 1)
        building = measure(valid.build_upstream_body, 1) if isinstance(valid, ValidatedBody) else 0.0
        print(f"{name}: validation {seconds * 1e3:.1f} ms ({place}), upstream body {building * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
