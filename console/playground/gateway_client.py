"""Sends a conversation to a deployment through its gateway, as any other client does, and measures the answer.

The key of five minutes is kept in memory for four, per person and deployment, because a new one takes up to half a
second to reach the gateways.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import aiohttp
from django.conf import settings

from accounts.models import User
from accounts.services import PLAYGROUND_SECONDS, create_playground_key
from console.playground.answer import Measurements, Part, Problem, Question, Text
from console.streaming.sse import data_lines
from deployments.models import Deployment

TIMEOUT = aiohttp.ClientTimeout(total=PLAYGROUND_SECONDS, connect=5)
KEY_SPREADS_SECONDS, KEY_RETRY_SECONDS = 3.0, 0.1
KEEP_KEY = timedelta(seconds=PLAYGROUND_SECONDS - 60)
MAX_KEYS = 1000
UNREACHABLE = "The gateway cannot be reached. It may be restarting. Try again in a few seconds."
TOO_LATE = f"No complete answer within {PLAYGROUND_SECONDS // 60} minutes. Try again when a replica is ready."
CUT = "Connection lost: the answer is incomplete. Send the message again."


class Keys:
    """Playground keys that this process has made; the oldest are forgotten first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[UUID, UUID], tuple[str, datetime]] = OrderedDict()

    def secret(self, deployment: Deployment, user: User, now: datetime) -> str:
        """A key with which `user` calls `deployment` for at least a minute."""
        kept = self._kept.get((user.pk, deployment.pk))
        if kept and kept[1] > now:
            return kept[0]
        organization = deployment.organization
        secret = create_playground_key(organization=organization, user=user, deployment_id=deployment.pk, now=now)
        self._kept[user.pk, deployment.pk] = (secret, now + KEEP_KEY)
        while len(self._kept) > MAX_KEYS:
            self._kept.popitem(last=False)
        return secret

    def forget(self, deployment: Deployment, user: User) -> None:
        self._kept.pop((user.pk, deployment.pk), None)


KEYS = Keys()


async def ask(deployment: Deployment, secret: str, question: Question) -> AsyncIterator[Part]:
    """The answer as it comes, then `Measurements`; or a `Problem`. Closing the iterator ends the request."""
    body = {
        "model": deployment.name,
        "messages": question.messages,
        "max_tokens": question.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        **({} if question.temperature is None else {"temperature": question.temperature}),
    }
    try:
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
            async for part in _stream_answer(session, secret, body):
                yield part
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        yield Problem(UNREACHABLE)
    except TimeoutError:
        yield Problem(TOO_LATE)
    except aiohttp.ClientError:
        yield Problem(CUT)


async def _stream_answer(session: aiohttp.ClientSession, secret: str, body: dict[str, Any]) -> AsyncIterator[Part]:
    url = f"{settings.ENVIRONMENT.gateway_url}/v1/chat/completions"
    headers = {"Authorization": f"Bearer {secret}"}
    deadline = time.monotonic() + KEY_SPREADS_SECONDS
    while True:
        asked = time.perf_counter()
        async with session.post(url, json=body, headers=headers) as response:
            if response.status == 200:
                async for part in _read_parts(data_lines(response.content.iter_any()), asked):
                    yield part
                return
            if response.status != 401 or time.monotonic() > deadline:
                yield Problem(_refusal(await response.read(), response.status), response.status)
                return
        await asyncio.sleep(KEY_RETRY_SECONDS)  # a new key reaches the gateways within half a second


async def _read_parts(lines: AsyncIterator[str], asked: float) -> AsyncIterator[Part]:
    """Read the chunks of a completion; without `[DONE]` the answer is not whole."""
    first = last = 0.0
    pieces = 0
    usage: dict[str, int] = {}
    async for line in lines:
        if line == "[DONE]":
            yield _measure(asked, first, last, pieces, usage)
            return
        chunk = json.loads(line)
        if error := chunk.get("error"):
            yield Problem(str(error.get("message", CUT)))
            return
        usage = chunk.get("usage") or usage
        text = "".join(choice.get("delta", {}).get("content") or "" for choice in chunk.get("choices", ()))
        if text:
            last = time.perf_counter()
            first, pieces = first or last, pieces + 1
            yield Text(text)
    yield Problem(CUT)


def _measure(asked: float, first: float, last: float, pieces: int, usage: dict[str, int]) -> Measurements:
    output = usage.get("completion_tokens", pieces)
    between = (last - first) / (output - 1) if output > 1 else 0.0
    ttft = max(0.0, first - asked)
    return Measurements(round(ttft * 1000), round(between * 1000, 1), usage.get("prompt_tokens", 0), output)


def _refusal(body: bytes, status: int) -> str:
    """Why the gateway refused, in its own words."""
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"The gateway returned the status {status} without a reason. Try again."
