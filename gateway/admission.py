"""What a request asks for, checked before anything is reserved. Pure.

Malformed JSON, missing or mistyped fields, and what `hazards` names, are 400; a number outside its range is 422; a
prompt that cannot fit even at eight bytes per token is 400 `context_length_exceeded`. Everything else is the engine's
to judge.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from gateway import hazards, openai, splice
from gateway.openai import Refusal
from gateway.sse import Wish

BYTES_PER_TOKEN = 4
MOST_BYTES_PER_TOKEN = 8
PATIENCE_HEADER = "x-scale-up-timeout"
UPSTREAM_OPTIONS = {"include_usage": True, "continuous_usage_stats": True}


class Route(Enum):
    """The engine routes that are forwarded; the value is the path."""

    CHAT = "/v1/chat/completions"
    COMPLETIONS = "/v1/completions"
    EMBEDDINGS = "/v1/embeddings"

    @property
    def prompt_field(self) -> str:
        return {Route.CHAT: "messages", Route.COMPLETIONS: "prompt", Route.EMBEDDINGS: "input"}[self]


@dataclass(frozen=True)
class Call:
    """A body that may be forwarded. `prompt_bytes` counts the text of all prompts in UTF-8, four per token id;
    `longest_bytes` that of the longest, which alone has to fit into the context."""

    route: Route
    model: str
    stream: bool
    wish: Wish
    prompt_bytes: int
    longest_bytes: int
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
    "dimensions": Range(1, ANY, whole=True),
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
    sizes = [_prompt_bytes(prompt) for prompt in _prompts(route, fields[route.prompt_field])]
    return Call(
        route=route,
        model=fields["model"],
        stream=fields.get("stream") is True,
        wish=Wish(options.get("include_usage") is True, options.get("continuous_usage_stats") is True),
        prompt_bytes=sum(sizes),
        longest_bytes=max(sizes),
        output_cap=next((fields[name] for name in CAPS if fields.get(name) is not None), None),
        body=body,
    )


def refusal_of_length(call: Call, context_length: int) -> Refusal | None:
    """Whether the call cannot fit into the context of the deployment, however its text is cut into tokens."""
    least = call.longest_bytes // MOST_BYTES_PER_TOKEN
    if least > context_length:
        return openai.context_exceeded(context_length, least, call.route.prompt_field)
    if call.output_cap is not None and call.output_cap > context_length:
        return openai.out_of_range(
            "max_tokens",
            f"max_tokens is {call.output_cap}, but the context of this model is {context_length} tokens. Lower it.",
        )
    return None


def patience(given: str | None, most: float) -> float | Refusal:
    """For how many seconds a request waits for a replica to start: what its header says, `most` at the longest."""
    if given is None:
        return most
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        return openai.malformed(f"The header X-Scale-Up-Timeout must be seconds, 0 or more, not {given[:50]!r}.")
    return min(seconds, most)


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
    if stream and route is Route.EMBEDDINGS:
        return openai.malformed("Embeddings are answered in one piece: leave `stream` out.", "stream")
    return _refusal_of_prompt(route, fields) or _refusal_of_numbers(fields) or hazards.refusal_of(fields)


def _refusal_of_prompt(route: Route, fields: Mapping[str, Any]) -> Refusal | None:
    name = route.prompt_field
    given = fields.get(name)
    if route is Route.EMBEDDINGS:
        return None if _is_input(given) else openai.malformed(INPUT, name)
    if route is Route.COMPLETIONS:
        good = isinstance(given, str) or (isinstance(given, list) and bool(given))
        return None if good else openai.malformed("`prompt` must be text or a list that is not empty.", name)
    return _refusal_of_messages(given)


def _refusal_of_messages(messages: Any) -> Refusal | None:
    if not isinstance(messages, list) or not messages:
        return openai.malformed("`messages` must be a list with at least one message.", "messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            return openai.malformed("Each message must be an object with a `role`.", f"messages.[{index}]")
    return None


INPUT = "`input` must be text, a list of token ids, or a list of these; none of them empty."


def _is_input(given: Any) -> bool:
    if isinstance(given, list) and given and not _are_ids(given):
        return all(bool(one) and (isinstance(one, str) or _are_ids(one)) for one in given)
    return bool(given) and (isinstance(given, str) or _are_ids(given))


def _are_ids(given: Any) -> bool:
    return isinstance(given, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in given)


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


def _prompts(route: Route, given: Any) -> list[Any]:
    """The prompts of one request: the engine answers each on its own."""
    is_one = route is Route.CHAT or isinstance(given, str) or _are_ids(given)
    return [given] if is_one else given


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
