"""What a request asks for, checked before anything is reserved. Pure.

Malformed JSON, missing or mistyped fields are 400; a number outside its range is 422; a prompt that cannot fit even at
eight bytes per token is 400 `context_length_exceeded`. Everything else is the engine's to judge.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from gateway import openai, splice
from gateway.openai import Refusal
from gateway.sse import Wish

BYTES_PER_TOKEN = 4
MOST_BYTES_PER_TOKEN = 8
UPSTREAM_OPTIONS = {"include_usage": True, "continuous_usage_stats": True}


class Route(Enum):
    """The engine routes that are forwarded; the value is the path."""

    CHAT = "/v1/chat/completions"
    COMPLETIONS = "/v1/completions"

    @property
    def prompt_field(self) -> str:
        return "messages" if self is Route.CHAT else "prompt"


@dataclass(frozen=True)
class Call:
    """A body that may be forwarded. `prompt_bytes` counts the text of the prompt in UTF-8, four per token id."""

    route: Route
    model: str
    stream: bool
    wish: Wish
    prompt_bytes: int
    output_cap: int | None
    body: bytes

    @property
    def input_estimate(self) -> int:
        """Tokens of the prompt as long as nothing better is known."""
        return -(-self.prompt_bytes // BYTES_PER_TOKEN)

    def upstream_body(self) -> bytes:
        """The caller's bytes; for a stream with our usage options in place of the caller's."""
        if not self.stream:
            return self.body
        text = splice.text_of(self.body)
        given = json.loads(text).get("stream_options") or {}
        rest = splice.cut(text, "stream_options")
        return splice.bytes_of(splice.insert(rest, "stream_options", {**given, **UPSTREAM_OPTIONS}))


@dataclass(frozen=True)
class Range:
    """The values that a numeric field may have; `above` excludes its lower bound."""

    low: float
    high: float
    whole: bool = False
    above: bool = False

    def holds(self, value: float) -> bool:
        return (self.low < value if self.above else self.low <= value) and value <= self.high

    def words(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        if self.high == float("inf"):
            return f"{kind}, at least {self.low:g}"
        return f"{kind} {'above' if self.above else 'from'} {self.low:g} up to {self.high:g}"


ANY = float("inf")
RANGES: Mapping[str, Range] = {
    "max_tokens": Range(1, ANY, whole=True),
    "max_completion_tokens": Range(1, ANY, whole=True),
    "temperature": Range(0, 2),
    "top_p": Range(0, 1, above=True),
    "n": Range(1, 128, whole=True),
    "presence_penalty": Range(-2, 2),
    "frequency_penalty": Range(-2, 2),
    "top_logprobs": Range(0, 20, whole=True),
}
CAPS = ("max_completion_tokens", "max_tokens")


def parse(route: Route, body: bytes) -> Call | Refusal:
    """Read and check a body."""
    fields = _object(body)
    if isinstance(fields, Refusal):
        return fields
    if refusal := _refusal_of(route, fields):
        return refusal
    options = fields.get("stream_options") or {}
    return Call(
        route=route,
        model=fields["model"],
        stream=fields.get("stream") is True,
        wish=Wish(options.get("include_usage") is True, options.get("continuous_usage_stats") is True),
        prompt_bytes=_prompt_bytes(fields[route.prompt_field]),
        output_cap=next((fields[name] for name in CAPS if fields.get(name) is not None), None),
        body=body,
    )


def refusal_of_length(call: Call, context_length: int) -> Refusal | None:
    """Whether the call cannot fit into the context of the deployment, however its text is cut into tokens."""
    least = call.prompt_bytes // MOST_BYTES_PER_TOKEN
    if least > context_length:
        return openai.context_exceeded(context_length, least, call.route.prompt_field)
    if call.output_cap is not None and call.output_cap > context_length:
        return openai.out_of_range(
            "max_tokens",
            f"max_tokens is {call.output_cap}, but the context of this model is {context_length} tokens. Lower it.",
        )
    return None


def _object(body: bytes) -> dict[str, Any] | Refusal:
    try:
        fields = json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        return openai.malformed(f"The body is not valid JSON: {str(error)[:200]}. Check quotes, commas and brackets.")
    if not isinstance(fields, dict):
        return openai.malformed("The body must be a JSON object.")
    return fields


def _refusal_of(route: Route, fields: Mapping[str, Any]) -> Refusal | None:
    model, stream, options = fields.get("model"), fields.get("stream"), fields.get("stream_options")
    if not isinstance(model, str) or not model:
        return openai.malformed("You must provide a model: the name of a deployment, as text.", "model")
    if stream is not None and not isinstance(stream, bool):
        return openai.malformed("`stream` must be true or false.", "stream")
    if options is not None and not isinstance(options, dict):
        return openai.malformed("`stream_options` must be an object.", "stream_options")
    if options and not stream:
        return openai.malformed("`stream_options` is allowed only together with `stream: true`.", "stream_options")
    return _refusal_of_prompt(route, fields) or _refusal_of_numbers(fields)


def _refusal_of_prompt(route: Route, fields: Mapping[str, Any]) -> Refusal | None:
    name = route.prompt_field
    prompt = fields.get(name)
    if route is Route.COMPLETIONS:
        good = isinstance(prompt, str) or (isinstance(prompt, list) and bool(prompt))
        return None if good else openai.malformed("`prompt` must be text or a list that is not empty.", name)
    if not isinstance(prompt, list) or not prompt:
        return openai.malformed("`messages` must be a list with at least one message.", name)
    for index, message in enumerate(prompt):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            return openai.malformed("Each message must be an object with a `role`.", f"messages.[{index}]")
    return None


def _refusal_of_numbers(fields: Mapping[str, Any]) -> Refusal | None:
    for name, allowed in RANGES.items():
        value = fields.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            return openai.malformed(f"`{name}` must be {allowed.words()}.", name)
        if not allowed.holds(value) or (allowed.whole and value % 1 != 0):
            return openai.out_of_range(name, f"`{name}` is {value}; it must be {allowed.words()}.")
    return None


def _prompt_bytes(prompt: Any) -> int:
    if isinstance(prompt, str):
        return len(prompt.encode("utf-8", "surrogatepass"))
    if isinstance(prompt, int):
        return BYTES_PER_TOKEN
    if isinstance(prompt, list):
        return sum(map(_prompt_bytes, prompt))
    return sum(_prompt_bytes(part) for part in _texts(prompt))


def _texts(message: Any) -> Iterable[Any]:
    """The text of a message or of one of its content parts."""
    if not isinstance(message, dict):
        return ()
    return [message[name] for name in ("content", "text") if isinstance(message.get(name), str | list)]
