"""Embeddings that anybody can recompute: what a request asks for, and the vectors that it gets. Pure.

A vector is read from SHAKE-256 of `adapter`, a line feed, `text` or `ids`, a line feed, and the input itself (UTF-8;
token ids in decimal with commas between): two bytes for each dimension, a little-endian signed number plus one half,
then all divided by their Euclidean length and rounded to 32 bits.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from deployments.engines.simulator import bodies, tokens
from deployments.engines.simulator.answers import FINGERPRINT

DIMENSIONS, MOST_DIMENSIONS = 64, 4096
FORMATS = ("float", "base64")


@dataclass(frozen=True)
class Asked:
    """One accepted request: a vector of `dimensions` numbers for each input. `prompt_tokens` are of all together."""

    model: str
    inputs: tuple[str | list[int], ...]
    prompt_tokens: int
    dimensions: int = DIMENSIONS
    encoding_format: str = "float"


def read(body: bytes, *, served_names: tuple[str, ...], max_model_len: int) -> Asked:
    """Parse a request body; `served_names` has those of the adapters too. Raises `bodies.Refused`."""
    data = bodies.parse(body)
    model = bodies.model(data, served_names)
    inputs = tuple(bodies.texts_or_ids(data, "input"))
    lengths = [tokens.count_prompt(one) for one in inputs]
    if max(lengths) > max_model_len:
        raise bodies.bad(
            f"This model's maximum context length is {max_model_len} tokens. However, you requested {max(lengths)} "
            "tokens in the input for embedding generation. Please reduce the length of the input."
        )
    dimensions = bodies.integer(data, "dimensions", DIMENSIONS, highest=MOST_DIMENSIONS)
    return Asked(model, inputs, sum(lengths), dimensions, _format(data))


def _format(data: Mapping[str, Any]) -> str:
    chosen = data.get("encoding_format") or "float"
    if chosen not in FORMATS:
        raise bodies.bad(f"`encoding_format` must be one of {', '.join(FORMATS)}.", "encoding_format")
    return str(chosen)


def body(asked: Asked, id: str, created: int, rows: Iterable[bytes]) -> bytes:
    """The answer in vLLM's shape, labelled as simulated; `rows` are those of `row`, in order."""
    usage = {"prompt_tokens": asked.prompt_tokens, "total_tokens": asked.prompt_tokens, "completion_tokens": 0}
    head = {"id": id, "object": "list", "created": created, "model": asked.model, "system_fingerprint": FINGERPRINT}
    told = _json({**head, "usage": usage})
    return told[:-1] + b',"data":[' + b",".join(rows) + b"]}"


def row(asked: Asked, index: int) -> bytes:
    """One element of `data`."""
    vector = packed(asked.inputs[index], asked.model.partition(":")[2], asked.dimensions)
    return _json({"index": index, "object": "embedding", "embedding": _encoded(vector, asked)})


def packed(source: str | list[int], adapter: str = "", dimensions: int = DIMENSIONS) -> bytes:
    """The vector of one input as little-endian 32-bit floats."""
    kind, text = ("text", source) if isinstance(source, str) else ("ids", ",".join(map(str, source)))
    digest = hashlib.shake_256(f"{adapter}\n{kind}\n{text}".encode("utf-8", "surrogatepass")).digest(2 * dimensions)
    numbers = [number + 0.5 for number in struct.unpack(f"<{dimensions}h", digest)]
    length = math.hypot(*numbers)
    return struct.pack(f"<{dimensions}f", *(number / length for number in numbers))


def _encoded(vector: bytes, asked: Asked) -> str | list[float]:
    if asked.encoding_format == "base64":
        return base64.b64encode(vector).decode()
    return list(struct.unpack(f"<{asked.dimensions}f", vector))


def _json(data: object) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode()
