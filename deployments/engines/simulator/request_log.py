"""The simulator's log: a readable line and a JSON line per request. Never contains text of a prompt.

`requests.jsonl` in the replica's folder records what the engine generated, to verify usage against it. Each line is one
`write` to a file opened for appending, so a kill leaves whole lines.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """The end of a request. `outcome`: finished or aborted; `completion_tokens`: those sent to the client."""

    request_id: str
    route: str
    model: str
    stream: bool
    prompt_tokens: int
    completion_tokens: int
    outcome: str
    started_at: str
    seconds: float


class RequestLog:
    """`folder`: the replica's folder; None writes only the readable line."""

    def __init__(self, folder: str | None) -> None:
        self._file: int | None = None
        if folder:
            path = Path(folder) / "requests.jsonl"
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, entry: Entry) -> None:
        counts = f"{entry.prompt_tokens} prompt, {entry.completion_tokens} generated tokens"
        log_line(f"{entry.outcome.capitalize()} request {entry.request_id}: {counts}, {entry.seconds:.3f} s")
        if self._file is not None:
            os.write(self._file, json.dumps(asdict(entry), separators=(",", ":")).encode() + b"\n")


def log_line(text: str, level: str = "INFO") -> None:
    """A line of the engine's log."""
    print(f"{level} [simulator] {text}", flush=True)  # noqa: T201


def now() -> datetime:
    """The simulator's clock."""
    return datetime.now(UTC)  # noqa: TID251
