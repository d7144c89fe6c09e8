"""Local file for settlements that Redis could not take, replayed when Redis is available again.

One file per gateway process, `spool/<gateway id>.jsonl`, held under a lock: a file without a lock belongs to a process
that has ended, and any gateway with the same data folder takes it over. A replay may repeat lines, which is harmless:
the ingestion drops duplicates of usage events.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from gateway.contract import Admitted, UsageEvent

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settlement:
    """The end of one admitted request; `event` is None for an attempt that is not metered."""

    admitted: Admitted
    event: UsageEvent | None

    def to_line(self) -> str:
        event = asdict(self.event) if self.event else None
        return json.dumps({"admitted": asdict(self.admitted), "event": event}, separators=(",", ":")) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Settlement:
        """Parse a line. Raises ValueError, TypeError or KeyError for a line that a crash truncated."""
        data = json.loads(line)
        event = UsageEvent(**data["event"]) if data["event"] else None
        return cls(Admitted(**data["admitted"]), event)


class SettlementSpool:
    """The spool file of this process. Lines are in the order in which requests ended."""

    def __init__(self, folder: Path, gateway_id: str) -> None:
        self._folder = folder
        self._path = folder / f"{gateway_id}.jsonl"
        self._file: IO[str] | None = None
        self._pending: list[Settlement] = []

    def __len__(self) -> int:
        return len(self._pending)

    def append(self, settlement: Settlement) -> None:
        """Append one line and sync it to disk. Raises OSError when the file cannot be written; the settlement is then
        pending in memory only."""
        self._pending.append(settlement)
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8")
            fcntl.flock(self._file, fcntl.LOCK_EX)
        self._file.write(settlement.to_line())
        self._file.flush()
        os.fsync(self._file.fileno())

    def list_pending(self) -> list[Settlement]:
        return list(self._pending)

    def remove_first(self, count: int) -> None:
        """Remove the first `count` settlements; the file is deleted when none is left."""
        del self._pending[:count]
        if not self._pending and self._file:
            self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def list_other_files(self) -> list[Path]:
        """List the spool files of other gateway processes, running or ended."""
        return [path for path in sorted(self._folder.glob("*.jsonl")) if path != self._path]


@contextmanager
def take_over(path: Path) -> Iterator[list[Settlement]]:
    """Lock the spool file of an ended process and yield its settlements; yields [] while its owner runs.

    The file is deleted when the block ends without an exception.
    """
    try:
        file = path.open(encoding="utf-8")
    except FileNotFoundError:
        yield []
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield []
            return
        settlements = list(_parse_lines(file))
        yield settlements
        if settlements:  # an empty file may be one that its owner has just created and not locked yet
            path.unlink(missing_ok=True)


def _parse_lines(file: IO[str]) -> Iterator[Settlement]:
    for line in file:
        try:
            yield Settlement.from_line(line)
        except (ValueError, TypeError, KeyError) as error:
            log.error("An invalid line of a spool file is skipped: %s", error)
