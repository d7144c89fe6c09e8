"""What a request for text asks of the simulator, or why it is refused, in vLLM's words. Pure.

Lengths are tokens by the rule of `tokens`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployments.engines.simulator import bodies, tokens
from deployments.engines.simulator.bodies import Refused as Refused

DEFAULT_MAX_TOKENS = 64
MOST_CHOICES = 128


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

    @property
    def adapter(self) -> str:
        """The adapter that answers; empty for the base model, whose names have no colon."""
        return self.model.partition(":")[2]


def read(body: bytes, *, chat: bool, served_names: tuple[str, ...], max_model_len: int) -> Wanted:
    """Parse a request body; `served_names` has those of the adapters too. Raises `Refused`."""
    data = bodies.parse(body)
    model = bodies.model(data, served_names)
    prompts = _chat_prompts(data) if chat else [tokens.count_prompt(one) for one in bodies.texts_or_ids(data, "prompt")]
    longest = max(prompts)
    max_tokens = _max_tokens(data, chat, longest, max_model_len)
    options = data.get("stream_options") if isinstance(data.get("stream_options"), Mapping) else None
    stream = bodies.switch(data, "stream")
    if data.get("stream_options") is not None and not stream:
        raise bodies.bad("Stream options can only be defined when `stream=True`.", "stream_options")
    include_usage = bool(options and options.get("include_usage"))
    return Wanted(
        chat=chat,
        model=model,
        prompt_tokens=sum(prompts),
        max_tokens=max_tokens,
        choices=len(prompts) * bodies.integer(data, "n", 1, highest=MOST_CHOICES),
        stream=stream,
        include_usage=include_usage,
        continuous_usage=include_usage and bool(options and options.get("continuous_usage_stats")),
    )


def _chat_prompts(data: Mapping[str, Any]) -> list[int]:
    messages = data.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
        raise bodies.bad("`messages` must be a list of at least one message.", "messages")
    return [tokens.count(tokens.chat_prompt(messages))]


def _max_tokens(data: Mapping[str, Any], chat: bool, prompt_tokens: int, max_model_len: int) -> int:
    names = ("max_completion_tokens", "max_tokens") if chat else ("max_tokens",)
    name = next((one for one in names if data.get(one) is not None), None)
    where = "messages" if chat else "prompt"
    room = max_model_len - prompt_tokens
    asked = bodies.integer(data, name, 1) if name else max(1, min(DEFAULT_MAX_TOKENS, room))
    if asked > room:
        raise bodies.bad(
            f"This model's maximum context length is {max_model_len} tokens. However, you requested "
            f"{prompt_tokens + asked} tokens ({prompt_tokens} in the {where}, {asked} in the completion). "
            f"Please reduce the length of the {where} or completion."
        )
    return asked
