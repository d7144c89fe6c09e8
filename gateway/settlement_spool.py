"""Local file for settlements that Redis could not take, replayed when Redis is available again.

One file per gateway process, `spool/<gateway id>.jsonl`, held under a lock: a file without a lock belongs to a process
that has ended, and any gateway with the same data folder takes it over. A replay may repeat lines, which is harmless:
the ingestion drops duplicates of usage events. Files are read, written and synced in threads. Lines that cannot be read
are never deleted, but moved to `spool/<gateway id>.unreadable`.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from gateway.contract import Admitted, UsageEvent

log = logging.getLogger(__name__)
# The format of a line; raised with any change of Admitted or UsageEvent that an older reader would not understand.
VERSION = 1
MAX_PENDING = 100_000
RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class Settlement:
    """The end of one admitted request; `event` is None for an attempt that is not metered."""

    admitted: Admitted
    event: UsageEvent | None

    def to_line(self) -> str:
        event = asdict(self.event) if self.event else None
        line = {"version": VERSION, "admitted": asdict(self.admitted), "event": event}
        return json.dumps(line, separators=(",", ":")) + "\n"

    @classmethod
    def from_line(cls, line: str | bytes) -> Settlement:
        """Parse a line. Raises ValueError, TypeError, KeyError or RecursionError if a crash truncated it or its version
        is another."""
        data = json.loads(line)
        if data["version"] != VERSION:
            raise ValueError(f"its version is {data['version']}, this gateway reads {VERSION}")
        event = UsageEvent(**data["event"]) if data["event"] else None
        return cls(Admitted(**data["admitted"]), event)


class SettlementSpool:
    """The spool file of this process. Settlements are in the order in which requests ended.

    What is pending is in memory too. One thread at a time works on the file: it writes what the file lacks, or deletes
    the file when nothing is pending. An error, such as a full disk, is logged and the work tried again.
    """

    def __init__(self, folder: Path, gateway_id: str) -> None:
        self._folder = folder
        self._path = folder / f"{gateway_id}.jsonl"
        self._file: IO[bytes] | None = None
        self._size = 0
        self._pending: list[Settlement] = []
        self._removed = 0  # since the start of the process, as `_written`
        self._written = 0
        self._work: asyncio.Future[None] | None = None
        self._retry_timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._pending)

    def append(self, settlement: Settlement) -> None:
        """Add a settlement, which is written in a moment. Of more than MAX_PENDING only the log has a copy."""
        if len(self._pending) >= MAX_PENDING:
            log.error("The spool is full, a settlement is lost: %s", settlement.to_line().rstrip())
            return
        self._pending.append(settlement)
        if self._retry_timer is None:
            self._start_work()

    def list_pending(self) -> list[Settlement]:
        return list(self._pending)

    def remove_first(self, count: int) -> None:
        """Remove the first `count` settlements; the file is deleted when none is left."""
        del self._pending[:count]
        self._removed += count
        if self._retry_timer is None:
            self._start_work()

    def close(self) -> None:
        """Log what is neither in Redis nor in the file at the end of the process."""
        for settlement in self._list_unwritten():
            log.error("The spool cannot be written, a settlement is lost: %s", settlement.to_line().rstrip())

    async def flush(self) -> None:
        """Wait until the file has what is pending, or an attempt to write it has failed."""
        if self._retry_timer:
            self._retry()
        while self._work:
            await asyncio.wait([self._work])

    def list_other_files(self) -> list[Path]:
        """List the spool files of other gateway processes, running or ended."""
        return [path for path in sorted(self._folder.glob("*.jsonl")) if path != self._path]

    def _start_work(self) -> None:
        if self._work:
            return
        loop = asyncio.get_running_loop()
        if unwritten := self._list_unwritten():
            written = self._removed + len(self._pending)
            self._work = loop.run_in_executor(None, self._write, unwritten)
            self._work.add_done_callback(lambda work: self._finish_work(work, written))
        elif self._file and not self._pending:
            self._work = loop.run_in_executor(None, self._delete, self._file)
            self._work.add_done_callback(lambda work: self._finish_work(work, self._written))

    def _finish_work(self, work: asyncio.Future[None], written: int) -> None:
        self._work = None
        try:
            work.result()
        except OSError as error:
            log.error(
                "The spool cannot be written, %d settlements are in memory only: %s", len(self._list_unwritten()), error
            )
            self._retry_timer = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._retry)
            return
        self._written = written
        self._start_work()

    def _list_unwritten(self) -> list[Settlement]:
        return self._pending[max(self._written - self._removed, 0) :]

    def _retry(self) -> None:
        if self._retry_timer:
            self._retry_timer.cancel()
        self._retry_timer = None
        self._start_work()

    # In a thread

    def _write(self, settlements: list[Settlement]) -> None:
        data = "".join(settlement.to_line() for settlement in settlements).encode()
        file = self._file or self._open()
        file.truncate(self._size)  # an earlier attempt may have written a part
        left = memoryview(data)
        while left:
            left = left[file.write(left) :]
        os.fsync(file.fileno())
        self._size += len(data)

    def _open(self) -> IO[bytes]:
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._path.open("ab", buffering=0)
        fcntl.flock(file, fcntl.LOCK_EX)
        self._file, self._size = file, 0
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return file

    def _delete(self, file: IO[bytes]) -> None:
        self._path.unlink(missing_ok=True)
        file.close()
        self._file = None


@asynccontextmanager
async def take_over(path: Path) -> AsyncIterator[list[Settlement]]:
    """Lock the spool file of an ended process and yield its settlements; yields [] while its owner runs.

    The file is deleted when the block ends without an exception. Raises OSError if lines that cannot be read cannot be
    moved; the file then stays.
    """
    file = await asyncio.to_thread(_lock, path)
    if file is None:
        yield []
        return
    with file:
        settlements, unreadable = await asyncio.to_thread(_read, file)
        if unreadable:
            kept = path.with_suffix(".unreadable")
            await asyncio.to_thread(_keep, kept, unreadable)
            log.error("%d lines of the spool file %s cannot be read; they are kept in %s.", len(unreadable), path, kept)
        yield settlements
        if settlements or unreadable:  # an empty file may be one that its owner has just created and not locked yet
            await asyncio.to_thread(path.unlink, missing_ok=True)


def _lock(path: Path) -> IO[bytes] | None:
    """Open and lock a file; None if it is gone or locked."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _read(file: IO[bytes]) -> tuple[list[Settlement], list[bytes]]:
    """Return the settlements of a file and the lines that cannot be read."""
    settlements, unreadable = [], []
    for line in file:
        try:
            settlements.append(Settlement.from_line(line))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            log.error("A line of a spool file cannot be read: %s", error)
            unreadable.append(line)
    return settlements, unreadable


def _keep(path: Path, lines: list[bytes]) -> None:
    """Write lines and sync them. A replay that is interrupted and repeated writes the same lines again."""
    with path.open("wb") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
