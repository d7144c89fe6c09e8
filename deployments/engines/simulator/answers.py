"""The bytes that the simulator answers with: bodies and stream chunks in vLLM's shape. Pure.

`created` is seconds since the epoch. A stream has one chunk per token and choice; the first of a choice carries the
role, the last its finish reason.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from deployments.engines.simulator import tokens
from deployments.engines.simulator.requests import Wanted

FINGERPRINT = "simulated"
DONE = b"data: [DONE]\n\n"
GAP = "\0"


@dataclass(frozen=True)
class Answer:
    """Renders one request's answer. `id` and `created` are the same in all its chunks."""

    wanted: Wanted
    id: str
    created: int
    _frames: dict[int, list[bytes]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def body(self) -> bytes:
        """The whole answer of a request that did not ask for a stream."""
        wanted = self.wanted
        text = tokens.answer(wanted.max_tokens, wanted.adapter)
        choices = [self._whole_choice(index, text) for index in range(wanted.choices)]
        name = "chat.completion" if wanted.chat else "text_completion"
        usage = self._usage(wanted.max_tokens * wanted.choices)
        return _json({**self._head(name), "choices": choices, "usage": usage})

    def chunk(self, place: int, index: int, sent: int) -> bytes:
        """The token at `place` of choice `index`; `sent` counts the tokens of all choices, this one included."""
        piece = tokens.piece(place, self.wanted.adapter)
        if not 0 < place < self.wanted.max_tokens - 1 or self.wanted.continuous_usage:
            return self._chunk(place, index, piece, sent)
        if index not in self._frames:
            self._frames[index] = self._chunk(place, index, GAP, sent).split(_json(GAP))
        return _json(piece).join(self._frames[index])

    def usage_chunk(self, sent: int) -> bytes:
        """The chunk without choices that ends a stream whose caller asked for usage."""
        name = "chat.completion.chunk" if self.wanted.chat else "text_completion"
        return _event({**self._head(name), "choices": [], "usage": self._usage(sent)})

    def _chunk(self, place: int, index: int, piece: str, sent: int) -> bytes:
        name = "chat.completion.chunk" if self.wanted.chat else "text_completion"
        usage = {}
        if self.wanted.include_usage:
            usage = {"usage": self._usage(sent) if self.wanted.continuous_usage else None}
        return _event({**self._head(name), "choices": [self._choice(place, index, piece)], **usage})

    def _head(self, name: str) -> dict[str, Any]:
        model = self.wanted.model
        return {"id": self.id, "object": name, "created": self.created, "model": model} | {
            "system_fingerprint": FINGERPRINT
        }

    def _choice(self, place: int, index: int, piece: str) -> dict[str, Any]:
        reason = "length" if place == self.wanted.max_tokens - 1 else None
        end = {"logprobs": None, "finish_reason": reason}
        if not self.wanted.chat:
            return {"index": index, "text": piece, **end}
        role = {"role": "assistant"} if place == 0 else {}
        return {"index": index, "delta": {**role, "content": piece}, **end}

    def _whole_choice(self, index: int, text: str) -> dict[str, Any]:
        end = {"logprobs": None, "finish_reason": "length"}
        if not self.wanted.chat:
            return {"index": index, "text": text, **end}
        return {"index": index, "message": {"role": "assistant", "content": text}, **end}

    def _usage(self, completion: int) -> dict[str, int]:
        prompt = self.wanted.prompt_tokens
        return {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}


def _json(data: object) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode()


def _event(data: object) -> bytes:
    return b"data: " + _json(data) + b"\n\n"
