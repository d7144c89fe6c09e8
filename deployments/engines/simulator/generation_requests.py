"""Parses chat and completion requests, with vLLM's error messages. Pure. Lengths are in tokens, as in `tokens`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployments.engines.simulator import request_json, tokens
from deployments.engines.simulator.request_json import RequestError as RequestError

DEFAULT_MAX_TOKENS = 64
MAX_CHOICES = 128


@dataclass(frozen=True)
class GenerationRequest:
    """A valid request. `prompt_tokens`: of all prompts together; `choices`: prompts × n."""

    chat: bool
    model: str
    prompt_tokens: int
    max_tokens: int
    choices: int = 1
    stream: bool = False
    include_usage: bool = False
    continuous_usage: bool = False

    @property
    def adapter(self) -> str:
        """The adapter of the model name; empty for the base model, whose names have no colon."""
        return self.model.partition(":")[2]


def parse(body: bytes, *, chat: bool, served_names: tuple[str, ...], max_model_len: int) -> GenerationRequest:
    """`served_names` includes those of the adapters. Raises `RequestError`."""
    data = request_json.parse(body)
    model = request_json.model(data, served_names)
    lengths = _chat_lengths(data) if chat else list(map(tokens.count_prompt, request_json.texts_or_ids(data, "prompt")))
    longest = max(lengths)
    max_tokens = _max_tokens(data, chat, longest, max_model_len)
    options = data.get("stream_options") if isinstance(data.get("stream_options"), Mapping) else None
    stream = request_json.boolean(data, "stream")
    if data.get("stream_options") is not None and not stream:
        raise request_json.bad_request("Stream options can only be defined when `stream=True`.", "stream_options")
    include_usage = bool(options and options.get("include_usage"))
    return GenerationRequest(
        chat=chat,
        model=model,
        prompt_tokens=sum(lengths),
        max_tokens=max_tokens,
        choices=len(lengths) * request_json.integer(data, "n", 1, highest=MAX_CHOICES),
        stream=stream,
        include_usage=include_usage,
        continuous_usage=include_usage and bool(options and options.get("continuous_usage_stats")),
    )


def _chat_lengths(data: Mapping[str, Any]) -> list[int]:
    messages = data.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise request_json.bad_request("`messages` must be a list of at least one message.", "messages")
    return [tokens.count(tokens.chat_prompt(messages))]


def _max_tokens(data: Mapping[str, Any], chat: bool, prompt_tokens: int, max_model_len: int) -> int:
    names = ("max_completion_tokens", "max_tokens") if chat else ("max_tokens",)
    name = next((name for name in names if data.get(name) is not None), None)
    where = "messages" if chat else "prompt"
    room = max_model_len - prompt_tokens
    requested = request_json.integer(data, name, 1) if name else max(1, min(DEFAULT_MAX_TOKENS, room))
    if requested > room:
        raise request_json.bad_request(
            f"This model's maximum context length is {max_model_len} tokens. However, you requested "
            f"{prompt_tokens + requested} tokens ({prompt_tokens} in the {where}, {requested} in the completion). "
            f"Please reduce the length of the {where} or completion."
        )
    return requested
