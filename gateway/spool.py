"""Settlements that Redis did not take, kept in a file until it does.

One file per gateway process, `spool/<gateway id>.jsonl`, held under a lock: a file without a lock belongs to a process
that is gone, and any gateway on the same data folder takes it over. A replay may repeat lines; the ledger's key makes
that harmless.
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
    """The end of one admitted request; `event` None for an attempt that is not counted."""

    admitted: Admitted
    event: UsageEvent | None

    def to_line(self) -> str:
        event = asdict(self.event) if self.event else None
        return json.dumps({"admitted": asdict(self.admitted), "event": event}, separators=(",", ":")) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Settlement:
        """Raises ValueError, TypeError or KeyError for a line that a crash cut off."""
        data = json.loads(line)
        event = UsageEvent(**data["event"]) if data["event"] else None
        return cls(Admitted(**data["admitted"]), event)


class Spool:
    """The file of this process. Lines keep the order in which requests ended."""

    def __init__(self, folder: Path, gateway_id: str) -> None:
        self._folder = folder
        self._path = folder / f"{gateway_id}.jsonl"
        self._file: IO[str] | None = None
        self._waiting: list[Settlement] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def append(self, settlement: Settlement) -> None:
        """Write one line through to the disk. Raises OSError when the folder cannot be written."""
        self._waiting.append(settlement)
        file = self._file or self._open()
        file.write(settlement.to_line())
        file.flush()
        os.fsync(file.fileno())

    def waiting(self) -> list[Settlement]:
        return list(self._waiting)

    def done(self, count: int) -> None:
        """The first `count` settlements were taken; the file goes when none is left."""
        del self._waiting[:count]
        if not self._waiting and self._file:
            self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def _open(self) -> IO[str]:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a", encoding="utf-8")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        return self._file

    def abandoned(self) -> list[Path]:
        """Files of other gateway processes, living or gone."""
        return [path for path in sorted(self._folder.glob("*.jsonl")) if path != self._path]


@contextmanager
def taken_over(path: Path) -> Iterator[list[Settlement]]:
    """The settlements of a process that is gone, while nobody else may take them; empty while it lives. The file is
    removed when the block ends without an error."""
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
        settlements = list(_readable(file))
        yield settlements
        if settlements:  # an empty file may be one that its owner has just made and not locked yet
            path.unlink(missing_ok=True)


def _readable(file: IO[str]) -> Iterator[Settlement]:
    for line in file:
        try:
            yield Settlement.from_line(line)
        except (ValueError, TypeError, KeyError) as error:
            log.error("A spooled line cannot be read and is left out: %s", error)
