"""Response bodies and stream chunks of text generation, in vLLM's format. Pure.

`created` is in seconds since the epoch. A stream has one chunk per token and choice; the first chunk of a choice
carries the role, the last its finish reason.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from deployments.engines.simulator import tokens
from deployments.engines.simulator.generation_requests import GenerationRequest

FINGERPRINT = "simulated"
DONE = b"data: [DONE]\n\n"
GAP = "\0"


@dataclass(frozen=True)
class Response:
    """Renders the response to one request. `id` and `created` are the same in all its chunks."""

    request: GenerationRequest
    id: str
    created: int
    _templates: dict[int, list[bytes]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def body(self) -> bytes:
        """The whole response, to a request without `stream`."""
        request = self.request
        text = tokens.generate(request.max_tokens, request.adapter)
        choices = [self._whole_choice(index, text) for index in range(request.choices)]
        name = "chat.completion" if request.chat else "text_completion"
        usage = self._usage(request.max_tokens * request.choices)
        return _json({**self._head(name), "choices": choices, "usage": usage})

    def chunk(self, position: int, index: int, sent: int) -> bytes:
        """The token at `position` of choice `index`; `sent` counts the tokens of all choices so far, with this one."""
        piece = tokens.token_text(position, self.request.adapter)
        if not 0 < position < self.request.max_tokens - 1 or self.request.continuous_usage:
            return self._chunk(position, index, piece, sent)
        if index not in self._templates:
            self._templates[index] = self._chunk(position, index, GAP, sent).split(_json(GAP))
        return _json(piece).join(self._templates[index])

    def usage_chunk(self, sent: int) -> bytes:
        """The last chunk of a stream whose request includes usage; it has no choices."""
        name = "chat.completion.chunk" if self.request.chat else "text_completion"
        return _event({**self._head(name), "choices": [], "usage": self._usage(sent)})

    def _chunk(self, position: int, index: int, piece: str, sent: int) -> bytes:
        name = "chat.completion.chunk" if self.request.chat else "text_completion"
        usage = {}
        if self.request.include_usage:
            usage = {"usage": self._usage(sent) if self.request.continuous_usage else None}
        return _event({**self._head(name), "choices": [self._choice(position, index, piece)], **usage})

    def _head(self, name: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": name,
            "created": self.created,
            "model": self.request.model,
            "system_fingerprint": FINGERPRINT,
        }

    def _choice(self, position: int, index: int, piece: str) -> dict[str, Any]:
        reason = "length" if position == self.request.max_tokens - 1 else None
        end = {"logprobs": None, "finish_reason": reason}
        if not self.request.chat:
            return {"index": index, "text": piece, **end}
        role = {"role": "assistant"} if position == 0 else {}
        return {"index": index, "delta": {**role, "content": piece}, **end}

    def _whole_choice(self, index: int, text: str) -> dict[str, Any]:
        end = {"logprobs": None, "finish_reason": "length"}
        if not self.request.chat:
            return {"index": index, "text": text, **end}
        return {"index": index, "message": {"role": "assistant", "content": text}, **end}

    def _usage(self, completion: int) -> dict[str, int]:
        prompt = self.request.prompt_tokens
        return {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}


def _json(data: object) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode()


def _event(data: object) -> bytes:
    return b"data: " + _json(data) + b"\n\n"
