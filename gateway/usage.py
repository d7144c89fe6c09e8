"""What a request used: counted while the answer passes, turned into one UsageEvent at its end. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from gateway.contract import Admitted, UsageEvent

COMPLETED, CLIENT_LEFT, INTERRUPTED = "completed", "client_left", "interrupted"
UPSTREAM_ERROR, REFUSED_UPSTREAM = "upstream_error", "refused_upstream"
BYTES_PER_TOKEN = 4


@dataclass(frozen=True)
class Counts:
    """Tokens of one request. `estimated`: not counted by the engine."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False


NOTHING = Counts()


class Tally:
    """Follows one answer. Usage is cumulative: the last one counts, never the sum."""

    def __init__(self, input_estimate: int) -> None:
        self._input_estimate = input_estimate
        self._pieces = 0
        self._usage: Counts | None = None

    def note(self, usage: dict[str, Any] | None, pieces: int = 0) -> None:
        self._pieces += pieces
        self._usage = counts_of(usage) or self._usage

    def counts(self) -> Counts:
        """The engine's last count, else the chunks counted here and the estimate of the prompt."""
        return self._usage or Counts(self._input_estimate, 0, self._pieces, estimated=True)


def counts_of(usage: Any) -> Counts | None:
    """An engine's `usage` object; None when it is none."""
    if not isinstance(usage, dict) or _whole(usage.get("prompt_tokens")) is None:
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    prompt = _whole(usage["prompt_tokens"]) or 0
    output = _whole(usage.get("completion_tokens")) or 0
    return Counts(prompt, min(_whole(cached) or 0, prompt), output)


def counts_of_answer(body: bytes, input_estimate: int) -> Counts:
    """What an answer that is no stream used."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = {}
    fields = answer if isinstance(answer, dict) else {}
    estimate = Counts(input_estimate, 0, -(-_text_bytes(fields.get("choices")) // BYTES_PER_TOKEN), estimated=True)
    return counts_of(fields.get("usage")) or estimate


def event_of(
    admitted: Admitted,
    counts: Counts,
    *,
    outcome: str,
    status: int,
    seconds: float,
    ttft_seconds: float | None,
) -> UsageEvent:
    """The facts of a request that ended `seconds` after its admission."""
    facts = dict(vars(admitted))
    del facts["input_estimate"]
    finished_at = round(admitted.admitted_at + max(seconds, 0.0), 3)
    ttft = None if ttft_seconds is None else round(ttft_seconds, 6)
    return UsageEvent(
        **facts, **vars(counts), finished_at=finished_at, outcome=outcome, status=status, ttft_seconds=ttft
    )


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _text_bytes(choices: Any) -> int:
    total = 0
    for choice in choices if isinstance(choices, list) else []:
        message = choice.get("message") if isinstance(choice, dict) else None
        text = message.get("content") if isinstance(message, dict) else None
        text = text or (choice.get("text") if isinstance(choice, dict) else None)
        total += len(text.encode("utf-8", "surrogatepass")) if isinstance(text, str) else 0
    return total
