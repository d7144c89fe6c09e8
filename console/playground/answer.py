"""A question to a deployment, and the parts of its answer. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True)
class Measurements:
    """Times measured between this process and the gateway, tokens as the engine counted them. `cold_start_seconds` is
    the part of the wait for the first token before a replica was ready, which `ttft_ms` leaves out; None for a warm
    start."""

    ttft_ms: int
    itl_ms: float
    input_tokens: int
    output_tokens: int
    cold_start_seconds: float | None = None


@dataclass(frozen=True)
class Problem:
    """Why there is no answer, or only a part of it, in words; `status` is the gateway's, 0 when it was not reached."""

    words: str
    status: int = 0


Part = Text | Measurements | Problem


@dataclass(frozen=True)
class Question:
    """`messages` in the format of OpenAI, the new one last; `temperature` None leaves it to the model."""

    messages: list[dict[str, str]]
    max_tokens: int
    temperature: float | None = None
