"""Counts the tokens of a request from the engine's response and builds its usage event. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import msgspec

from gateway.contract import Admitted, UsageEvent

# Outcomes of a usage event; docs/gateway.md states when each applies.
COMPLETED, CLIENT_LEFT, INTERRUPTED = "completed", "client_left", "interrupted"
UPSTREAM_ERROR, REFUSED_UPSTREAM = "upstream_error", "refused_upstream"
BYTES_PER_TOKEN = 4
TAIL_BYTES = 4096
MAX_PARSED_BYTES = 256 * 1024
MAX_COUNT = 2**53 - 1  # what the numbers of Lua hold exactly

# A usage object as engines write it, as exact JSON: counts, and objects of counts.
NUMBER = rb"(?:0|[1-9][0-9]{0,15})"
_COUNTS = rb'\{(?:"[a-z_]++": ?(?:null|%b)(?:, ?"[a-z_]++": ?(?:null|%b))*+)?\}' % (NUMBER, NUMBER)
USAGE_OBJECT = rb'\{"prompt_tokens": ?%b(?:, ?"(?!prompt_tokens")[a-z_]++": ?(?:null|%b|%b))*+\}' % (
    NUMBER,
    NUMBER,
    _COUNTS,
)
# The end of a response whose last members are usage and scalars, from the comma before it.
USAGE_AT_END = re.compile(
    rb',\s*"usage": ?(%b)(?:, ?"(?!usage")[a-z_]++": ?(?:null|true|false|"[^"\\]*+"|%b))*+\s*\}\s*'
    % (USAGE_OBJECT, NUMBER)
)


class TokenCounts(NamedTuple):
    """Tokens of one request. `estimated` marks counts that the engine did not report."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False

    def to_text(self) -> str:
        """The counts as reported to Redis: "input cached output estimated"."""
        return f"{self.input_tokens} {self.cached_input_tokens} {self.output_tokens} {int(self.estimated)}"


NO_TOKENS = TokenCounts()


class Latency(NamedTuple):
    """What a client waited for, in seconds; docs/gateway.md defines the fields. None: it does not apply."""

    ttft_seconds: float | None = None
    itl_mean_seconds: float | None = None
    itl_p99_seconds: float | None = None
    queue_seconds: float | None = None
    cold: bool | None = None


def parse_usage(usage: Any) -> TokenCounts | None:
    """Parse an engine's `usage` object; None if it is invalid."""
    if not isinstance(usage, dict) or _parse_count(usage.get("prompt_tokens")) is None:
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    prompt = _parse_count(usage["prompt_tokens"]) or 0
    output = _parse_count(usage.get("completion_tokens")) or 0
    return TokenCounts(prompt, min(_parse_count(cached) or 0, prompt), output)


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    text: str | None = None


class _Response(msgspec.Struct):
    """What is read of a response; the decoder skips everything else without creating objects."""

    usage: dict[str, Any] | None = None
    choices: list[_Choice] | None = None


_decode_response = msgspec.json.Decoder(_Response).decode


def count_response_tokens(body: bytes, input_estimate: int) -> TokenCounts:
    """Count the tokens of a response that is not a stream: its usage, else an estimate from its text.

    Of a long response, usage at its end is read without parsing the rest. The output of a long response without usage
    and of an unknown structure is estimated from all its bytes.
    """
    if len(body) > TAIL_BYTES and (usage := _find_usage_at_end(body)):
        return usage
    try:
        response = _decode_response(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        if len(body) > MAX_PARSED_BYTES:
            return TokenCounts(input_estimate, 0, -(-len(body) // BYTES_PER_TOKEN), estimated=True)
        return _count_parsed_response(body, input_estimate)
    texts = [(choice.message and choice.message.content) or choice.text or "" for choice in response.choices or []]
    output_bytes = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    estimate = TokenCounts(input_estimate, 0, -(-output_bytes // BYTES_PER_TOKEN), estimated=True)
    return parse_usage(response.usage) or estimate


def _find_usage_at_end(body: bytes) -> TokenCounts | None:
    """Read the usage of a response that ends with it and scalar members, which makes it one of the outermost object."""
    tail = body[-TAIL_BYTES:]
    name = tail.rfind(b'"usage"')
    match = USAGE_AT_END.fullmatch(tail, tail.rfind(b",", 0, name)) if name >= 0 else None
    return parse_usage(json.loads(match[1])) if match else None


def _count_parsed_response(body: bytes, input_estimate: int) -> TokenCounts:
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
    latency: Latency = Latency(),
) -> UsageEvent:
    """Build the usage event of a request that ended `seconds` after its admission."""
    return UsageEvent(
        request_id=admitted.request_id,
        admitted_at=admitted.admitted_at,
        finished_at=round(admitted.admitted_at + max(seconds, 0.0), 3),
        organization_id=admitted.organization_id,
        owner_organization_id=admitted.owner_organization_id,
        deployment_id=admitted.deployment_id,
        replica_id=admitted.replica_id,
        key_id=admitted.key_id,
        user_id=admitted.user_id,
        model=admitted.model,
        stream=admitted.stream,
        outcome=outcome,
        status=status,
        input_tokens=counts.input_tokens,
        cached_input_tokens=counts.cached_input_tokens,
        output_tokens=counts.output_tokens,
        estimated=counts.estimated,
        ttft_seconds=_round(latency.ttft_seconds),
        itl_mean_seconds=_round(latency.itl_mean_seconds),
        itl_p99_seconds=_round(latency.itl_p99_seconds),
        queue_seconds=_round(latency.queue_seconds),
        cold=latency.cold,
        gateway_id=admitted.gateway_id,
    )


def _round(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _parse_count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT else None


def _count_text_bytes(choices: Any) -> int:
    total = 0
    for choice in choices if isinstance(choices, list) else []:
        message = choice.get("message") if isinstance(choice, dict) else None
        text = message.get("content") if isinstance(message, dict) else None
        text = text or (choice.get("text") if isinstance(choice, dict) else None)
        total += len(text.encode("utf-8", "surrogatepass")) if isinstance(text, str) else 0
    return total
