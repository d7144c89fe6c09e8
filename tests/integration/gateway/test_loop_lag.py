"""Request bodies that are expensive to read do not keep the event loop from other requests."""

import json

from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from tests.integration.gateway.conftest import World, chat
from tests.integration.gateway.test_failures import start_process

# The loop is late by less than 50 ms on an idle machine; on a busy one it also waits for a core.
MAX_LAG_SECONDS = "0.25"
MEBIBYTE = 1024 * 1024


def write(**members: object) -> bytes:
    return json.dumps(members).encode()


def nest(text: str, depth: int) -> str:
    return "[" * depth + text + "]" * depth


PART = '{"type":"image_url","image_url":{"url":"data:,x"}}'
MESSAGE = {"role": "user", "content": "x"}
START = b'{"model":"chat","messages":[{"role":"user","content":"x"}],'
HOSTILE = {
    "junk beside stream options": write(
        **chat(stream=True, stream_options={"include_usage": True}), **{f"a{n}": 0 for n in range(9000)}
    ),
    "equal members": START + b'"stream":true,"stream_options":{"x":[]}' + b',"a":1' * 16_000 + b"}",
    "nested content": b'{"model":"chat","messages":[{"role":"user","content":[{"x":%b}]}]}'
    % nest(",".join(['"y"'] * 190_000), 95).encode(),
    "deep content": b'{"model":"chat","messages":[{"role":"user","content":%b}]}' % nest("1", 400).encode(),
    "unclosed": b"[" * 9 * MEBIBYTE,
    "many lists": START + b'"x":[[]' + b",[]" * (3 * MEBIBYTE) + b"]}",
    "few lists": START + b'"x":[[]' + b",[]" * 9000 + b"]}",
    "quotes": b'"\\"' * 100_000,
    "spaces": b" " * 9 * MEBIBYTE + START[:-1] + b"}",
    "long number": START + b'"temperature":0.' + b"1" * 500_000 + b"}",
    "long whole number": START + b'"seed":' + b"1" * 500_000 + b"}",
    "no JSON at the end": START + b'"x":"' + b"x" * 500_000,
    "long text": write(**chat("x" * 9 * MEBIBYTE)),
    "messages": write(model="chat", messages=[MESSAGE] * 200_000),
    "inputs": write(model="chat", input=["x"] * 100_000),
    "long stream options": START + b'"stream":true,"stream_options":{"x":"' + b"y" * 9 * MEBIBYTE + b'"}}',
}


async def test_no_body_blocks_the_event_loop(world: World):
    folder = world.folder / "metrics"
    folder.mkdir()
    _, url = await start_process(world, PROMETHEUS_MULTIPROC_DIR=str(folder), CONSOLE_PROCESS="gateway")
    await world.replica(await world.deployment())
    await world.post(url, chat())
    late_before = count_late_samples(folder)
    statuses = {name: (await world.post(url, body))[0] for name, body in HOSTILE.items()}
    assert set(statuses.values()) <= {200, 400, 422}
    assert statuses["many lists"] == 200
    samples, late = (after - before for after, before in zip(count_late_samples(folder), late_before, strict=True))
    assert samples > 0
    assert late == 0


def count_late_samples(folder: object) -> tuple[float, float]:
    """Return how often the lag was sampled, and how often it was more than MAX_LAG_SECONDS."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))
    name, process = "console_gateway_loop_lag_seconds", {"process": "gateway"}
    total = registry.get_sample_value(f"{name}_count", process) or 0.0
    in_time = registry.get_sample_value(f"{name}_bucket", process | {"le": MAX_LAG_SECONDS}) or 0.0
    return total, total - in_time
