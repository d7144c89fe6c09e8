"""Counts the tokens of a request from the engine's response and builds its usage event. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from gateway.contract import Admitted, UsageEvent

# Outcomes of a usage event; docs/gateway.md states when each applies.
COMPLETED, CLIENT_LEFT, INTERRUPTED = "completed", "client_left", "interrupted"
UPSTREAM_ERROR, REFUSED_UPSTREAM = "upstream_error", "refused_upstream"
BYTES_PER_TOKEN = 4


@dataclass(frozen=True)
class TokenCounts:
    """Tokens of one request. `estimated` marks counts that the engine did not report."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False


NO_TOKENS = TokenCounts()


class StreamTokenCounter:
    """Counts the tokens of one stream. Usage is cumulative: the last reported one applies, never the sum."""

    def __init__(self, input_estimate: int) -> None:
        self._input_estimate = input_estimate
        self._output_chunks = 0
        self._usage: TokenCounts | None = None

    def add_chunk(self, usage: dict[str, Any] | None, output_chunks: int = 0) -> None:
        self._output_chunks += output_chunks
        self._usage = parse_usage(usage) or self._usage

    def get_counts(self) -> TokenCounts:
        """Return the last usage that the engine reported, else the estimated prompt and one token per output chunk."""
        return self._usage or TokenCounts(self._input_estimate, 0, self._output_chunks, estimated=True)


def parse_usage(usage: Any) -> TokenCounts | None:
    """Parse an engine's `usage` object; None if it is invalid."""
    if not isinstance(usage, dict) or _parse_count(usage.get("prompt_tokens")) is None:
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    prompt = _parse_count(usage["prompt_tokens"]) or 0
    output = _parse_count(usage.get("completion_tokens")) or 0
    return TokenCounts(prompt, min(_parse_count(cached) or 0, prompt), output)


def count_response_tokens(body: bytes, input_estimate: int) -> TokenCounts:
    """Count the tokens of a response that is not a stream: its usage, else an estimate from its text."""
    try:
        response = json.loads(body)
    except (ValueError, RecursionError):
        response = {}
    fields = response if isinstance(response, dict) else {}
    output_estimate = -(-_count_text_bytes(fields.get("choices")) // BYTES_PER_TOKEN)
    estimate = TokenCounts(input_estimate, 0, output_estimate, estimated=True)
    return parse_usage(fields.get("usage")) or estimate


def build_usage_event(
    admitted: Admitted,
    counts: TokenCounts,
    *,
    outcome: str,
    status: int,
    seconds: float,
    ttft_seconds: float | None,
) -> UsageEvent:
    """Build the usage event of a request that ended `seconds` after its admission."""
    request_fields = dict(vars(admitted))
    del request_fields["input_estimate"], request_fields["attempt"]
    finished_at = round(admitted.admitted_at + max(seconds, 0.0), 3)
    ttft = None if ttft_seconds is None else round(ttft_seconds, 6)
    return UsageEvent(
        **request_fields, **vars(counts), finished_at=finished_at, outcome=outcome, status=status, ttft_seconds=ttft
    )


def _parse_count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _count_text_bytes(choices: Any) -> int:
    total = 0
    for choice in choices if isinstance(choices, list) else []:
        message = choice.get("message") if isinstance(choice, dict) else None
        text = message.get("content") if isinstance(message, dict) else None
        text = text or (choice.get("text") if isinstance(choice, dict) else None)
        total += len(text.encode("utf-8", "surrogatepass")) if isinstance(text, str) else 0
    return total
