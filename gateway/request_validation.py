"""Validates request bodies before a slot is reserved. Pure.

Invalid JSON, missing or mistyped fields and forbidden content are 400; a number outside its range is 422; a prompt that
exceeds the context even at eight bytes per token is 400 `context_length_exceeded`. Everything else is left to the
engine.

The work is linear in the size of the body, and MAX_… bound what takes most of it. `is_quick_to_validate` tells bodies
that take a few milliseconds at most from those that are processed outside the event loop (`body_workers`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate
from typing import Any, NamedTuple

import msgspec

from gateway import json_edit, openai_errors
from gateway.contract import USAGE_EVERY_CHUNK, USAGE_LAST_CHUNK
from gateway.forbidden_content import find_forbidden_content
from gateway.openai_errors import ErrorResponse
from gateway.sse import StreamOptions

BYTES_PER_TOKEN = 4
MAX_BYTES_PER_TOKEN = 8
COLD_START_TIMEOUT_HEADER = "x-scale-up-timeout"
MAX_ECHOED_CHARACTERS = 50

# Limits of one body; docs/gateway.md lists them.
MAX_MEMBERS = 1000  # of the outermost object
MAX_DEPTH = 100
MAX_MESSAGES = 10_000
MAX_CONTENT_PARTS = 2048  # of one message
MAX_PROMPTS = 2048  # prompts of a completion, inputs of an embedding
QUICK_BYTES, QUICK_VALUES, FEW_VALUES_BYTES = 512 * 1024, 20_000, 16 * 1024

# The `stream_options` that make an engine report usage, by the reporting that its route declares.
REQUESTED_USAGE: Mapping[str, Mapping[str, bool]] = {
    USAGE_EVERY_CHUNK: {"include_usage": True, "continuous_usage_stats": True},
    USAGE_LAST_CHUNK: {"include_usage": True},
}
OUTPUT_CAP = "max_tokens"  # every engine accepts it on every path that generates text
DEPTH_CHANGES = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
NO_BRACKETS_OR_QUOTES = bytes(set(range(256)) - set(b'[]{}"'))
NO_STREAM_OPTIONS = StreamOptions()
_decode = msgspec.json.Decoder().decode


class InferencePath(Enum):
    """The paths that are forwarded to engines, and the field that has the prompt."""

    CHAT = "/v1/chat/completions", "messages"
    COMPLETIONS = "/v1/completions", "prompt"
    EMBEDDINGS = "/v1/embeddings", "input"

    prompt_field: str

    def __new__(cls, path: str, prompt_field: str) -> InferencePath:
        member = object.__new__(cls)
        member._value_ = path
        member.prompt_field = prompt_field
        return member


CHAT, COMPLETIONS, EMBEDDINGS = InferencePath


class ValidatedBody(NamedTuple):
    """A request body that may be forwarded.

    `prompt_bytes` is the size of all prompts as UTF-8 text, with four bytes per token id; `longest_prompt_bytes` is
    that of the longest one, which must fit into the context on its own. `max_output_tokens` is None without a limit.
    `completions` is how many texts are generated, 0 for embeddings.
    `other_stream_options` are the encoded members of `stream_options` that are not about usage, each with a comma
    before it. `replaceable` are the offsets of the values that `build_upstream_body` may replace.
    """

    path: InferencePath
    model: str
    stream: bool
    stream_options: StreamOptions
    prompt_bytes: int
    longest_prompt_bytes: int
    max_output_tokens: int | None
    body: bytes
    other_stream_options: bytes = b""
    replaceable: Mapping[str, list[json_edit.Span]] = {}
    completions: int = 1

    @property
    def input_estimate(self) -> int:
        """Estimated tokens of the prompt, used when the engine reports no usage."""
        return -(-self.prompt_bytes // BYTES_PER_TOKEN)

    def build_upstream_body(self, usage_reporting: str = USAGE_EVERY_CHUNK, output_cap: int | None = None) -> bytes:
        """Return the client's bytes with the members that the gateway sets.

        A stream asks for usage as often as the engine can report it (`usage_reporting` of its route). `output_cap` is
        the limit of output tokens; the caller gives one only if `max_output_tokens` is None.
        """
        values = {}
        if self.stream and usage_reporting in REQUESTED_USAGE:
            values["stream_options"] = ENCODED_USAGE_OPTIONS[usage_reporting] % self.other_stream_options
        if output_cap is not None:
            values[OUTPUT_CAP] = b"%d" % output_cap
        return json_edit.set_members(self.body, values, self.replaceable) if values else self.body


ENCODED_USAGE_OPTIONS = {
    reporting: json.dumps(options, separators=(",", ":")).encode()[:-1] + b"%b}"
    for reporting, options in REQUESTED_USAGE.items()
}
USAGE_OPTIONS = frozenset(name for options in REQUESTED_USAGE.values() for name in options)


@dataclass(frozen=True)
class Range:
    """The valid values of a numeric field: from `low` (excluded if `exclusive_low`) to `high`."""

    low: float
    high: float
    is_integer: bool = False
    exclusive_low: bool = False

    def contains(self, value: float) -> bool:
        is_above_low = self.low < value if self.exclusive_low else self.low <= value
        return is_above_low and value <= self.high and (not self.is_integer or value % 1 == 0)

    def describe(self) -> str:
        kind = "a whole number" if self.is_integer else "a number"
        if self.high == UNLIMITED:
            return f"{kind}, at least {self.low:g}"
        return f"{kind} {'above' if self.exclusive_low else 'from'} {self.low:g} up to {self.high:g}"


UNLIMITED = float("inf")
RANGES: Mapping[str, Range] = {
    "max_tokens": Range(1, UNLIMITED, is_integer=True),
    "max_completion_tokens": Range(1, UNLIMITED, is_integer=True),
    "temperature": Range(0, 2),
    "top_p": Range(0, 1, exclusive_low=True),
    "n": Range(1, 128, is_integer=True),
    "presence_penalty": Range(-2, 2),
    "frequency_penalty": Range(-2, 2),
    "top_logprobs": Range(0, 20, is_integer=True),
    "dimensions": Range(1, UNLIMITED, is_integer=True),
}


def is_quick_to_validate(body: bytes) -> bool:
    """Whether `validate_body` takes a few milliseconds at most, by size and an upper bound of the number of values."""
    if len(body) <= FEW_VALUES_BYTES:
        return True
    return len(body) <= QUICK_BYTES and body.count(b",") + body.count(b"[") + body.count(b"{") <= QUICK_VALUES


def validate_body(path: InferencePath, body: bytes) -> ValidatedBody | ErrorResponse:
    fields = _parse_object(body)
    if isinstance(fields, ErrorResponse):
        return fields
    error = (
        _check_common_fields(path, fields)
        or _check_prompt(path, fields)
        or _check_numbers(fields)
        or find_forbidden_content(fields)
    )
    if error:
        return error
    stream, stream_options, other_options = fields.get("stream") is True, NO_STREAM_OPTIONS, b""
    if options := fields.get("stream_options"):
        stream_options = StreamOptions(
            options.get("include_usage") is True, options.get("continuous_usage_stats") is True
        )
        other_options = b"" if USAGE_OPTIONS.issuperset(options) else _encode_other_options(options)
    replaceable = []
    if stream and "stream_options" in fields:
        replaceable.append("stream_options")
    if OUTPUT_CAP in fields and fields[OUTPUT_CAP] is None:
        replaceable.append(OUTPUT_CAP)
    sizes = [_count_bytes(prompt) for prompt in _list_prompts(path, fields[path.prompt_field])]
    output_limit = fields.get("max_completion_tokens")
    return ValidatedBody(
        path,
        fields["model"],
        stream,
        stream_options,
        prompt_bytes=sum(sizes),
        longest_prompt_bytes=max(sizes),
        max_output_tokens=fields.get("max_tokens") if output_limit is None else output_limit,
        body=body,
        other_stream_options=other_options,
        replaceable=json_edit.find_values(body, replaceable) if replaceable else {},
        completions=_count_completions(path, fields, len(sizes)),
    )


def check_context_length(body: ValidatedBody, context_length: int) -> ErrorResponse | None:
    """Return an error if the prompt, with any tokenizer, or the output limit exceeds `context_length` tokens."""
    min_tokens = body.longest_prompt_bytes // MAX_BYTES_PER_TOKEN
    if min_tokens > context_length:
        return openai_errors.context_length_exceeded(context_length, min_tokens, body.path.prompt_field)
    if body.max_output_tokens is not None and body.max_output_tokens > context_length:
        return openai_errors.out_of_range(
            "max_tokens",
            f"max_tokens is {body.max_output_tokens}, but the context of this model is {context_length} tokens. "
            "Lower it.",
        )
    return None


def parse_cold_start_timeout(header: str | None, limit: float) -> float | ErrorResponse:
    """Parse COLD_START_TIMEOUT_HEADER: how many seconds a request waits for a replica to start, at most `limit`."""
    if header is None:
        return limit
    try:
        seconds = float(header)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:  # also refuses NaN
        return openai_errors.invalid_request(
            f"The header X-Scale-Up-Timeout must be seconds, 0 or more, not {header[:MAX_ECHOED_CHARACTERS]!r}."
        )
    return min(seconds, limit)


def _parse_object(body: bytes) -> dict[str, Any] | ErrorResponse:
    if _is_too_deep(body):
        return openai_errors.invalid_request(
            f"The body is nested deeper than the limit of {MAX_DEPTH} levels. Flatten it."
        )
    try:
        fields = _decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # Python's parser also accepts NaN, infinite numbers and lone surrogates, and it describes errors.
        try:
            fields = json.loads(body.decode())
        except (ValueError, RecursionError) as error:
            return openai_errors.invalid_request(
                f"The body is not valid JSON: {str(error)[:200]}. Check quotes, commas and brackets."
            )
    if not isinstance(fields, dict):
        return openai_errors.invalid_request("The body must be a JSON object.")
    if len(fields) > MAX_MEMBERS:
        return openai_errors.invalid_request(
            f"The body has {len(fields)} members; at most {MAX_MEMBERS} are accepted. Remove the unknown ones."
        )
    return fields


def _is_too_deep(body: bytes) -> bool:
    """Whether objects and arrays are nested deeper than MAX_DEPTH, without parsing; exact for valid JSON."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return False
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside_texts = b"".join(unescaped.translate(None, NO_BRACKETS_OR_QUOTES).split(b'"')[::2])
    changes = memoryview(outside_texts.translate(DEPTH_CHANGES)).cast("b")
    return max(accumulate(changes), default=0) > MAX_DEPTH


def _encode_other_options(options: Mapping[str, Any]) -> bytes:
    others = {name: value for name, value in options.items() if name not in USAGE_OPTIONS}
    return b"," + json.dumps(others, separators=(",", ":")).encode()[1:-1]


def _check_common_fields(path: InferencePath, fields: Mapping[str, Any]) -> ErrorResponse | None:
    model, stream, options = fields.get("model"), fields.get("stream"), fields.get("stream_options")
    if not isinstance(model, str) or not model:
        return openai_errors.invalid_request("You must provide a model: the name of a deployment, as text.", "model")
    if stream is not None and not isinstance(stream, bool):
        return openai_errors.invalid_request("`stream` must be true or false.", "stream")
    if options is not None and not isinstance(options, dict):
        return openai_errors.invalid_request("`stream_options` must be an object.", "stream_options")
    if options and not stream:
        message = "`stream_options` is allowed only together with `stream: true`."
        return openai_errors.invalid_request(message, "stream_options")
    if stream and path is EMBEDDINGS:
        return openai_errors.invalid_request("Embeddings cannot be streamed: leave `stream` out.", "stream")
    return None


def _check_prompt(path: InferencePath, fields: Mapping[str, Any]) -> ErrorResponse | None:
    name = path.prompt_field
    prompt = fields.get(name)
    if path is CHAT:
        return _check_messages(prompt)
    if isinstance(prompt, list) and len(prompt) > MAX_PROMPTS and not _is_token_id_list(prompt):
        message = f"`{name}` has {len(prompt)} items; at most {MAX_PROMPTS} are accepted in one request. Split it."
        return openai_errors.invalid_request(message, name)
    if path is EMBEDDINGS:
        is_valid = _is_embedding_input(prompt)
        message = "`input` must be text, a list of token ids, or a list of these; none of them empty."
    else:
        is_valid = isinstance(prompt, str) or (isinstance(prompt, list) and bool(prompt))
        message = "`prompt` must be text or a list that is not empty."
    return None if is_valid else openai_errors.invalid_request(message, name)


def _check_messages(messages: Any) -> ErrorResponse | None:
    if not isinstance(messages, list) or not messages:
        return openai_errors.invalid_request("`messages` must be a list with at least one message.", "messages")
    if len(messages) > MAX_MESSAGES:
        message = f"`messages` has {len(messages)} messages; at most {MAX_MESSAGES} are accepted."
        return openai_errors.invalid_request(message, "messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            return openai_errors.invalid_request("Each message must be an object with a `role`.", f"messages.[{index}]")
        content = message.get("content")
        if isinstance(content, list) and len(content) > MAX_CONTENT_PARTS:
            return openai_errors.invalid_request(
                f"The message has {len(content)} content parts; at most {MAX_CONTENT_PARTS} are accepted.",
                f"messages.[{index}].content",
            )
    return None


def _is_embedding_input(value: Any) -> bool:
    if isinstance(value, list) and value and not _is_token_id_list(value):
        return all(bool(item) and (isinstance(item, str) or _is_token_id_list(item)) for item in value)
    return bool(value) and (isinstance(value, str) or _is_token_id_list(value))


def _is_token_id_list(value: Any) -> bool:
    return isinstance(value, list) and {int}.issuperset(map(type, value))


def _check_numbers(fields: Mapping[str, Any]) -> ErrorResponse | None:
    for name, value in fields.items():
        allowed = RANGES.get(name)
        if allowed is None or value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            return openai_errors.invalid_request(f"`{name}` must be {allowed.describe()}.", name)
        if not allowed.contains(value):
            return openai_errors.out_of_range(name, f"`{name}` is {value}; it must be {allowed.describe()}.")
    return None


def _list_prompts(path: InferencePath, value: Any) -> list[Any]:
    """List the prompts of a request; the engine processes each one separately."""
    is_single = path is CHAT or isinstance(value, str) or _is_token_id_list(value)
    return [value] if is_single else value


def _count_completions(path: InferencePath, fields: Mapping[str, Any], prompts: int) -> int:
    if path is InferencePath.EMBEDDINGS:
        return 0
    best_of = fields.get("best_of")
    return prompts * max(int(fields.get("n") or 1), best_of if type(best_of) is int else 1)


def _count_bytes(prompt: Any) -> int:
    """Count the bytes of the text in a prompt: a text, a token id, a message, a content part, or a list of these."""
    if isinstance(prompt, str):
        return len(prompt) if prompt.isascii() else len(prompt.encode("utf-8", "surrogatepass"))
    if isinstance(prompt, dict):
        content, text = prompt.get("content"), prompt.get("text")
        size = _count_bytes(content) if isinstance(content, (str, list)) else 0
        return size + _count_bytes(text) if isinstance(text, (str, list)) else size
    if isinstance(prompt, list):
        return BYTES_PER_TOKEN * len(prompt) if _is_token_id_list(prompt) else sum(map(_count_bytes, prompt))
    return BYTES_PER_TOKEN if isinstance(prompt, int) else 0
