"""What a request to the simulator asks for, or why it is refused, in vLLM's words. Pure.

Lengths are tokens by the rule of `tokens`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployments.engines.simulator import tokens

DEFAULT_MAX_TOKENS = 64
MOST_CHOICES = 128


class Refused(Exception):
    """An error answer in vLLM's shape: `status` is the HTTP status and the error's code."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": status}}


@dataclass(frozen=True)
class Wanted:
    """One accepted request. `prompt_tokens` are of all prompts together; `choices` is prompts × n."""

    chat: bool
    model: str
    prompt_tokens: int
    max_tokens: int
    choices: int = 1
    stream: bool = False
    include_usage: bool = False
    continuous_usage: bool = False


def read(body: bytes, *, chat: bool, served_names: tuple[str, ...], max_model_len: int) -> Wanted:
    """Parse a request body. Raises `Refused`."""
    data = _object(body)
    model = _model(data, served_names)
    prompts = _chat_prompts(data) if chat else _prompts(data)
    longest = max(prompts)
    max_tokens = _max_tokens(data, chat, longest, max_model_len)
    options = data.get("stream_options") if isinstance(data.get("stream_options"), Mapping) else None
    stream = _switch(data, "stream")
    if data.get("stream_options") is not None and not stream:
        raise _bad("Stream options can only be defined when `stream=True`.", "stream_options")
    include_usage = bool(options and options.get("include_usage"))
    return Wanted(
        chat=chat,
        model=model,
        prompt_tokens=sum(prompts),
        max_tokens=max_tokens,
        choices=len(prompts) * _integer(data, "n", 1, highest=MOST_CHOICES),
        stream=stream,
        include_usage=include_usage,
        continuous_usage=include_usage and bool(options and options.get("continuous_usage_stats")),
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except ValueError:
        raise _bad("The request body is not valid JSON.") from None
    if not isinstance(data, dict):
        raise _bad("The request body must be a JSON object.")
    return data


def _model(data: Mapping[str, Any], served_names: tuple[str, ...]) -> str:
    name = data.get("model") or served_names[0]
    if name not in served_names:
        raise Refused(404, "NotFoundError", f"The model `{name}` does not exist.", "model")
    return str(name)


def _chat_prompts(data: Mapping[str, Any]) -> list[int]:
    messages = data.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
        raise _bad("`messages` must be a list of at least one message.", "messages")
    return [tokens.count(tokens.chat_prompt(messages))]


def _prompts(data: Mapping[str, Any]) -> list[int]:
    """One prompt or several, each a text or a list of token ids."""
    prompt = data.get("prompt")
    if isinstance(prompt, str) or (isinstance(prompt, list) and prompt and _are_ids(prompt)):
        return [tokens.count_prompt(prompt)]
    if isinstance(prompt, list) and prompt and all(isinstance(one, str) or _are_ids(one) for one in prompt):
        return [tokens.count_prompt(one) for one in prompt]
    raise _bad("`prompt` must be a text, a list of token ids, or a list of these.", "prompt")


def _are_ids(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in value)


def _max_tokens(data: Mapping[str, Any], chat: bool, prompt_tokens: int, max_model_len: int) -> int:
    names = ("max_completion_tokens", "max_tokens") if chat else ("max_tokens",)
    name = next((one for one in names if data.get(one) is not None), None)
    where = "messages" if chat else "prompt"
    room = max_model_len - prompt_tokens
    asked = _integer(data, name, 1) if name else max(1, min(DEFAULT_MAX_TOKENS, room))
    if asked > room:
        raise _bad(
            f"This model's maximum context length is {max_model_len} tokens. However, you requested "
            f"{prompt_tokens + asked} tokens ({prompt_tokens} in the {where}, {asked} in the completion). "
            f"Please reduce the length of the {where} or completion."
        )
    return asked


def _integer(data: Mapping[str, Any], name: str, default: int, highest: int | None = None) -> int:
    value = data.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise _bad(f"`{name}` must be a whole number.", name)
    if value < 1:
        raise _bad(f"{name} must be at least 1, got {value}.", name)
    if highest is not None and value > highest:
        raise _bad(f"{name} must be at most {highest}, got {value}.", name)
    return value


def _switch(data: Mapping[str, Any], name: str) -> bool:
    value = data.get(name)
    if not isinstance(value, bool | None):
        raise _bad(f"`{name}` must be true or false.", name)
    return bool(value)


def _bad(message: str, param: str | None = None) -> Refused:
    return Refused(400, "BadRequestError", message, param)
