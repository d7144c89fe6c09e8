"""Edits an engine's stream for its client and reads usage, output and times from it. Pure: bytes and `now` in.

Events as engines write them are recognized by one strict pattern, so that they need not be parsed: `data: ` and an
object on one line whose first members (id, model and so on) are those of the event before, exactly one choice with
scalar members, and usage as the last member. The pattern is exact JSON, so such an event is known completely. Any other
event is parsed (`sse.parse_event`), with the same result.
"""

from __future__ import annotations

import json
import re
from heapq import heappush, heapreplace

from gateway import sse
from gateway.sse import EventSplitter, StreamOptions
from gateway.usage_metering import NUMBER, USAGE_OBJECT, TokenCounts, parse_usage

MAX_PREFIX_BYTES = 1024
KEPT_GAPS = 64

_TEXT = rb'(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+'
_SCALAR = rb'(?:null|"' + _TEXT + rb'"|' + NUMBER + rb")"
# The members before the choices, the same in all chunks of a stream.
PREFIX = re.compile(
    rb'data: \{(?:"(?:id|object|created|model|system_fingerprint|service_tier)": ?' + _SCALAR + rb', ?)*+"choices": ?\['
)
# After the prefix: one choice with at most one text (groups 1 and 2), then usage (3) with its value (4).
ONE_CHOICE = re.compile(
    rb'\{"index": ?' + NUMBER + rb', ?(?:"delta": ?\{(?:"role": ?"[a-z]*+"(?:, ?(?="))?)?'
    rb'(?:"(?:content|reasoning_content|reasoning)": ?"(' + _TEXT + rb')"'
    rb'(?:, ?"(?:refusal|tool_calls|function_call)": ?null)*+)?\}|"text": ?"(' + _TEXT + rb')")'
    rb'(?:, ?"(?:logprobs|finish_reason|stop_reason|matched_stop)": ?' + _SCALAR + rb")*+\}\]"
    rb'(, ?"usage": ?(null|' + USAGE_OBJECT + rb"))?\}\n\n"
)
# After the prefix: no choice, and usage (1).
NO_CHOICE = re.compile(rb'\], ?"usage": ?(' + USAGE_OBJECT + rb")\}\n\n")


class OutputTimes:
    """The times at which a stream had output, in seconds on the caller's clock: the first, and the gaps between them.

    Bounded memory: of the gaps, the sum and the largest KEPT_GAPS are kept, from which the 99th percentile (nearest
    rank) is exact up to 100 × KEPT_GAPS gaps; beyond that it is a higher percentile.
    """

    __slots__ = ("_gap_count", "_largest", "_last_at", "first_at")

    def __init__(self) -> None:
        self.first_at: float | None = None
        self._last_at = 0.0
        self._gap_count = 0
        self._largest: list[float] = []

    def add(self, now: float) -> None:
        if self.first_at is None:
            self.first_at = self._last_at = now
            return
        gap = now - self._last_at
        self._last_at = now
        self._gap_count += 1
        if len(self._largest) < KEPT_GAPS:
            heappush(self._largest, gap)
        elif gap > self._largest[0]:
            heapreplace(self._largest, gap)

    def get_mean_gap(self) -> float | None:
        """Return the mean gap; None with fewer than two outputs."""
        if self.first_at is None or not self._gap_count:
            return None
        return (self._last_at - self.first_at) / self._gap_count

    def get_p99_gap(self) -> float | None:
        """Return the 99th percentile of the gaps; None with fewer than two outputs."""
        if not self._gap_count:
            return None
        rank = min(self._gap_count // 100 + 1, len(self._largest))
        return sorted(self._largest, reverse=True)[rank - 1]


class StreamEditor:
    """Edits one stream. The facts hold for the bytes fed so far.

    `is_done` is set by `[DONE]`, after which nothing is returned any more. `has_error` is set by an event with an
    error. `output_chunks` counts choices with output.
    """

    def __init__(self, options: StreamOptions) -> None:
        self._options = options
        self._splitter = EventSplitter()
        self._prefix: bytes | None = None
        self._usage: bytes | TokenCounts | None = None
        self.output_times = OutputTimes()
        self.output_chunks = 0
        self.is_done = False
        self.has_error = False

    def feed(self, data: bytes, now: float) -> bytes:
        """Return the bytes for the client of the events that `data` completes. Raises EventTooLong."""
        if not self._splitter.has_remainder and data.endswith(b"\n\n") and b"\r" not in data:
            if data.find(b"\n\n") == len(data) - 2:
                return b"" if self.is_done else self._edit(data, now)
            events = [event + b"\n\n" for event in data.split(b"\n\n")[:-1]]
        else:
            events = self._splitter.feed(data)
        return self._edit_all(events, now)

    def finish(self, now: float) -> bytes:
        """Return the bytes for the client at the end of the stream: `[DONE]` without a blank line, if it is left."""
        remainder = self._splitter.take_remainder()
        client_bytes = self._edit_all([remainder] if remainder else [], now)
        return client_bytes if self.is_done else b""

    def get_counts(self, input_estimate: int) -> TokenCounts:
        """Return the last usage that the engine reported, else the estimated prompt and one token per output chunk."""
        if isinstance(self._usage, bytes):
            self._usage = parse_usage(json.loads(self._usage))
        return self._usage or TokenCounts(input_estimate, 0, self.output_chunks, estimated=True)

    def _edit_all(self, events: list[bytes], now: float) -> bytes:
        parts = []
        for event in events:
            if self.is_done:
                break
            parts.append(self._edit(event, now))
        return b"".join(parts)

    def _edit(self, event: bytes, now: float) -> bytes:
        """Return the bytes of one event for the client; take its usage and output."""
        prefix = self._prefix
        if prefix is None or not event.startswith(prefix):
            found = PREFIX.match(event)
            if found is None or found.end() > MAX_PREFIX_BYTES:
                return self._parse(event, now)
            prefix = self._prefix = found.group()
        match = ONE_CHOICE.fullmatch(event, len(prefix))
        if match is None:
            return self._edit_usage_only(event, len(prefix), now)
        if match[1] or match[2]:
            self.output_chunks += 1
            self.output_times.add(now)
        start, value = match.start(3), match[4]
        if value is None:
            return event
        if value != b"null":
            self._usage = value
        if not self._options.include_usage:
            return event[:start] + b"}\n\n"
        if self._options.continuous_usage_stats or value == b"null":
            return event
        return event[: match.start(4)] + b"null}\n\n"

    def _edit_usage_only(self, event: bytes, start: int, now: float) -> bytes:
        match = NO_CHOICE.fullmatch(event, start)
        if match is None:
            return self._parse(event, now)
        self._usage = match[1]
        return event if self._options.include_usage else b""

    def _parse(self, event: bytes, now: float) -> bytes:
        parsed = sse.parse_event(event, self._options)
        self._usage = parse_usage(parsed.usage) or self._usage
        for _ in range(parsed.output_chunks):
            self.output_times.add(now)
        self.output_chunks += parsed.output_chunks
        self.is_done |= parsed.is_done
        self.has_error |= parsed.is_error
        return parsed.client_bytes
