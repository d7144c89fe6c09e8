"""Embeddings requests and responses, with vectors that can be recomputed. Pure.

A vector is derived from SHAKE-256 of `adapter`, a line feed, `text` or `ids`, a line feed, and the input itself (UTF-8;
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

from deployments.engines.simulator import request_json, tokens
from deployments.engines.simulator.responses import FINGERPRINT

DIMENSIONS, MAX_DIMENSIONS = 64, 4096
FORMATS = ("float", "base64")


@dataclass(frozen=True)
class EmbeddingRequest:
    """A valid request: one vector of `dimensions` numbers for each input. `prompt_tokens`: of all inputs together."""

    model: str
    inputs: tuple[str | list[int], ...]
    prompt_tokens: int
    dimensions: int = DIMENSIONS
    encoding_format: str = "float"


def parse(body: bytes, *, served_names: tuple[str, ...], max_model_len: int) -> EmbeddingRequest:
    """`served_names` includes those of the adapters. Raises `RequestError`."""
    data = request_json.parse(body)
    model = request_json.model(data, served_names)
    inputs = tuple(request_json.texts_or_ids(data, "input"))
    lengths = [tokens.count_prompt(text) for text in inputs]
    if max(lengths) > max_model_len:
        raise request_json.bad_request(
            f"This model's maximum context length is {max_model_len} tokens. However, you requested {max(lengths)} "
            "tokens in the input for embedding generation. Please reduce the length of the input."
        )
    dimensions = request_json.integer(data, "dimensions", DIMENSIONS, highest=MAX_DIMENSIONS)
    return EmbeddingRequest(model, inputs, sum(lengths), dimensions, _format(data))


def _format(data: Mapping[str, Any]) -> str:
    chosen = data.get("encoding_format") or "float"
    if chosen not in FORMATS:
        raise request_json.bad_request(f"`encoding_format` must be one of {', '.join(FORMATS)}.", "encoding_format")
    return str(chosen)


def body(request: EmbeddingRequest, id: str, created: int, rows: Iterable[bytes]) -> bytes:
    """The response in vLLM's format, labelled as simulated; `rows` are results of `row`, in order."""
    usage = {"prompt_tokens": request.prompt_tokens, "total_tokens": request.prompt_tokens, "completion_tokens": 0}
    head = {"id": id, "object": "list", "created": created, "model": request.model, "system_fingerprint": FINGERPRINT}
    rest = _json({**head, "usage": usage})
    return rest[:-1] + b',"data":[' + b",".join(rows) + b"]}"


def row(request: EmbeddingRequest, index: int) -> bytes:
    """One element of `data`."""
    vector = compute_vector(request.inputs[index], request.model.partition(":")[2], request.dimensions)
    return _json({"index": index, "object": "embedding", "embedding": _encode(vector, request)})


def compute_vector(source: str | list[int], adapter: str = "", dimensions: int = DIMENSIONS) -> bytes:
    """The vector of one input as little-endian 32-bit floats."""
    kind, text = ("text", source) if isinstance(source, str) else ("ids", ",".join(map(str, source)))
    digest = hashlib.shake_256(f"{adapter}\n{kind}\n{text}".encode("utf-8", "surrogatepass")).digest(2 * dimensions)
    numbers = [number + 0.5 for number in struct.unpack(f"<{dimensions}h", digest)]
    length = math.hypot(*numbers)
    return struct.pack(f"<{dimensions}f", *(number / length for number in numbers))


def _encode(vector: bytes, request: EmbeddingRequest) -> str | list[float]:
    if request.encoding_format == "base64":
        return base64.b64encode(vector).decode()
    return list(struct.unpack(f"<{request.dimensions}f", vector))


def _json(data: object) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode()
