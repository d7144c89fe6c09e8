"""Limits of requests and tokens per minute: which ones apply, what a request reserves, and reports of them. Pure.

The counters are in Redis (`scripts/counters.lua`). All limits apply at once: those of the deployment and those across
all deployments, each of the calling organization, of the user in it and of the API key.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from gateway import contract, openai_errors
from gateway.contract import KeyRecord, Limits, RouteRecord
from gateway.openai_errors import ErrorResponse
from gateway.request_validation import MAX_BYTES_PER_TOKEN, ValidatedBody

log = logging.getLogger(__name__)
Record = TypeVar("Record", KeyRecord, RouteRecord)

# How much one request changes an estimate: more upwards than downwards, as a reservation should not be too small.
LEARN_UP, LEARN_DOWN = 0.2, 0.02
SHORT_PROMPT_BYTES = 256  # shorter prompts tell more about the chat template than about the text
MIN_TOKENS_PER_BYTE, MAX_TOKENS_PER_BYTE, MAX_TEMPLATE_TOKENS = 0.125, 1.0, 256.0
MAX_LEARNED_DEPLOYMENTS = 10_000
LEVEL_NAMES = {
    contract.ORGANIZATION: "your organization",
    contract.USER: "your user",
    contract.API_KEY: "this API key",
}


class Limit(NamedTuple):
    """A limit that applies to a request, and the Redis key of its counter. `scope`: a deployment id, or
    `contract.ALL_DEPLOYMENTS`."""

    scope: str
    level: str
    unit: str
    maximum: int
    counter: str

    def describe(self) -> str:
        where = "all deployments" if self.scope == contract.ALL_DEPLOYMENTS else "this deployment"
        return f"{LEVEL_NAMES[self.level]} on {where}: {self.maximum} {self.unit} per minute"


class Count(NamedTuple):
    """What a counter counts, and the milliseconds until it is 0 if nothing is added."""

    used: int
    reset_milliseconds: int


class Reservation(NamedTuple):
    """What a request reserves: one request and `tokens`. `limits` has those of requests first. `output_cap` is the
    limit of output tokens to send upstream, None where the client set one or where tokens are not limited."""

    limits: Sequence[Limit]
    tokens: int
    output_cap: int | None = None


class PromptSize(NamedTuple):
    """How many tokens the prompts of a deployment have: those of the chat template, and those of a byte of text."""

    template_tokens: float = 8.0
    tokens_per_byte: float = 0.25

    def estimate(self, prompt_bytes: int) -> int:
        return math.ceil(self.template_tokens + prompt_bytes * self.tokens_per_byte)

    def learn(self, prompt_bytes: int, tokens: int) -> PromptSize:
        """Take the engine's count of a prompt into account."""
        if prompt_bytes < SHORT_PROMPT_BYTES:
            seen = min(max(tokens - prompt_bytes * self.tokens_per_byte, 0.0), MAX_TEMPLATE_TOKENS)
            return self._replace(template_tokens=_approach(self.template_tokens, seen))
        seen = max((tokens - self.template_tokens) / prompt_bytes, MIN_TOKENS_PER_BYTE)
        return self._replace(tokens_per_byte=_approach(self.tokens_per_byte, min(seen, MAX_TOKENS_PER_BYTE)))


NO_RESERVATION = Reservation((), 0)


def drop_invalid_limits(record: Record) -> Record:
    """Return a published record without limits that are no positive integers; these are logged and ignored."""
    if not record.limits:
        return record
    invalid: list[object] = []
    known = _read_mapping(record.limits, contract.LEVELS, invalid)
    limits = {level: _read_maxima(maxima, invalid) for level, maxima in known}
    if not invalid:
        return record
    log.error("Invalid published limits are ignored: %r in %r", invalid, record)
    return replace(record, limits={level: maxima for level, maxima in limits.items() if maxima})


def _read_maxima(value: object, invalid: list[object]) -> dict[str, int]:
    maxima = {}
    for name, maximum in _read_mapping(value, contract.LIMIT_FIELDS.values(), invalid):
        if type(maximum) is int and maximum > 0:
            maxima[name] = maximum
        else:
            invalid.append(maximum)
    return maxima


def _read_mapping(value: Any, names: Iterable[str], invalid: list[object]) -> list[tuple[str, Any]]:
    """The items of a mapping that have a name of `names` and a value; what is no mapping is added to `invalid`."""
    if isinstance(value, Mapping):
        return [(name, value[name]) for name in names if value.get(name) is not None]
    invalid.append(value)
    return []


def list_limits(route: RouteRecord, key: KeyRecord) -> list[Limit]:
    """List the limits in force for calls of a deployment with a key, those of requests first."""
    scopes = ((route.deployment_id, route.limits), (contract.ALL_DEPLOYMENTS, key.limits))
    return [
        limit
        for unit in contract.UNITS
        for scope, limits in scopes
        if limits
        for limit in _list_limits(scope, limits, key, unit)
    ]


def _list_limits(scope: str, limits: Limits, key: KeyRecord, unit: str) -> Iterable[Limit]:
    subjects = {
        contract.ORGANIZATION: key.organization_id,
        contract.USER: key.user_id,
        contract.API_KEY: key.key_id,
    }
    for level, subject_id in subjects.items():
        maximum = (limits.get(level) or {}).get(contract.LIMIT_FIELDS[unit])
        if maximum is not None:
            counter = contract.counter_key(scope, level, key.organization_id, subject_id, unit)
            yield Limit(scope, level, unit, maximum, counter)


def plan_reservation(
    body: ValidatedBody,
    limits: Sequence[Limit],
    *,
    prompt_size: PromptSize,
    context_length: int,
    default_output_tokens: int,
) -> Reservation | ErrorResponse:
    """Decide what a request reserves; an error if it exceeds a limit of tokens on its own, however long it waits.

    The tokens are an estimate of all prompts and, for each text to generate, the limit of output tokens: the one that
    the client set, else at most `default_output_tokens`, as much as context and limits have room for.
    """
    tightest = min(
        (limit for limit in limits if limit.unit == contract.TOKENS), key=lambda limit: limit.maximum, default=None
    )
    if tightest is None:
        return Reservation(limits, 0)
    cap = None if body.max_output_tokens is None else int(body.max_output_tokens)
    smallest = body.prompt_bytes // MAX_BYTES_PER_TOKEN + (1 if cap is None else cap) * body.completions
    if smallest > tightest.maximum:
        return _describe_too_large(body, tightest, smallest, has_cap=cap is not None)
    prompt = prompt_size.estimate(body.prompt_bytes)
    output_cap = None
    if cap is None and body.completions:
        room = min(
            context_length - prompt_size.estimate(body.longest_prompt_bytes),
            (tightest.maximum - prompt) // body.completions,
        )
        cap = output_cap = max(1, min(default_output_tokens, room))
    tokens = max(1, prompt + (cap or 0) * body.completions)
    return Reservation(limits, min(tokens, tightest.maximum), output_cap)


def _describe_too_large(body: ValidatedBody, limit: Limit, tokens: int, *, has_cap: bool) -> ErrorResponse:
    advice = "Lower max_tokens or n, or shorten the prompt." if has_cap else "Shorten the prompt."
    message = (
        f"This request needs at least {tokens} tokens, more than the limit of {limit.describe()}. It can never be "
        f"admitted. {advice}"
    )
    return openai_errors.out_of_range("max_tokens" if has_cap else body.path.prompt_field, message)


def build_refusal(limit: Limit, used: int, tokens: int, wait_milliseconds: int) -> ErrorResponse:
    """Build the 429 of a request that `limit` has no room for before `wait_milliseconds` have passed."""
    needed = 1 if limit.unit == contract.REQUESTS else tokens
    return openai_errors.rate_limit_exceeded(
        limit.unit,
        f"Rate limit reached for {limit.describe()}, {used} used, {needed} requested. Try again in "
        f"{format_duration(wait_milliseconds)}.",
        wait_milliseconds / 1000,
    )


def render_headers(limits: Sequence[Limit], counts: Sequence[Count]) -> dict[str, str]:
    """Render OpenAI's headers: of each unit the limit that has the least left."""
    headers = {}
    for unit in contract.UNITS:
        counted = [(limit, count) for limit, count in zip(limits, counts, strict=True) if limit.unit == unit]
        if counted:
            limit, count = min(counted, key=lambda pair: (pair[0].maximum - pair[1].used, pair[0].maximum))
            headers[f"x-ratelimit-limit-{unit}"] = str(limit.maximum)
            headers[f"x-ratelimit-remaining-{unit}"] = str(max(limit.maximum - count.used, 0))
            headers[f"x-ratelimit-reset-{unit}"] = format_duration(count.reset_milliseconds)
    return headers


def format_duration(milliseconds: int) -> str:
    """Format like Go: `12ms`, `1.5s`, `6m0s`."""
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    seconds = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{minutes}m{seconds}" if minutes else seconds


class PromptSizes:
    """The prompt size of each deployment, learned from the counts of its engine."""

    def __init__(self) -> None:
        self._sizes: dict[str, PromptSize] = {}

    def get(self, deployment_id: str) -> PromptSize:
        return self._sizes.get(deployment_id, PromptSize())

    def learn(self, deployment_id: str, prompt_bytes: int, tokens: int) -> None:
        """Take the engine's count of a prompt into account; of too many deployments, forget the oldest one."""
        size = self._sizes.pop(deployment_id, PromptSize())
        if len(self._sizes) >= MAX_LEARNED_DEPLOYMENTS:
            del self._sizes[next(iter(self._sizes))]
        self._sizes[deployment_id] = size.learn(prompt_bytes, tokens)


def _approach(known: float, seen: float) -> float:
    return known + (seen - known) * (LEARN_UP if seen > known else LEARN_DOWN)
