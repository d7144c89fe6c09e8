"""The log file of a replica: timed lines, of limited size, read from the end or followed. Standard library only."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

MAX_BYTES = 8 * 1024 * 1024
MAX_LINE_BYTES = 16 * 1024
POLL_SECONDS = 0.2
BLOCK_BYTES = 64 * 1024


class LogWriter:
    """Appends output to `path`; at MAX_BYTES the file is renamed to `path`.1 and a new one begins."""

    def __init__(self, path: Path, clock: Callable[[], datetime], max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._clock = clock
        self._max_bytes = max_bytes
        self._file = path.open("ab")
        self._rest = b""
        self._latest = clock()

    def feed(self, data: bytes) -> list[bytes]:
        """Add output; returns the lines that it completed, which are not written yet."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            lines.append(self._rest)
            self._rest = b""
        return lines

    def flush(self) -> list[bytes]:
        """The last line without a line end, once the output is complete."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []

    def write(self, line: bytes) -> None:
        if self._file.tell() > self._max_bytes:
            self._file.close()
            self._path.replace(f"{self._path}.1")
            self._file = self._path.open("ab")
        self._latest = max(self._latest, self._clock())  # times stay in order when the clock is set back
        self._file.write(self._latest.isoformat().encode() + b" " + line.rstrip(b"\r") + b"\n")
        self._file.flush()


def split(line: bytes) -> tuple[datetime | None, str]:
    """The time and the text of a line."""
    text = line.decode(errors="replace").rstrip("\n")
    stamp, _, rest = text.partition(" ")
    try:
        return datetime.fromisoformat(stamp), rest
    except ValueError:
        return None, text


def read_last(path: Path, count: int, since: datetime | None = None) -> list[bytes]:
    """The last `count` complete lines from `since` on, of this file and the previous one. Reads no more than needed."""
    lines: list[bytes] = []
    for line in _newest_first(path):
        at = split(line)[0] if since else None
        if len(lines) == count or (since and at and at < since):
            break
        lines.append(line)
    return lines[::-1]


def _newest_first(path: Path) -> Iterator[bytes]:
    """Complete lines, the last first, without their line ends."""
    with ExitStack() as stack:
        files = [stack.enter_context(file) for name in (path, f"{path}.1") if (file := _open(Path(name)))]
        if len(files) == 2 and os.path.sameopenfile(files[0].fileno(), files[1].fileno()):
            files.pop()  # renamed between the two calls
        for file in files:
            yield from _read_backwards(file)


def _read_backwards(file: BinaryIO) -> Iterator[bytes]:
    end, rest, is_complete = file.seek(0, os.SEEK_END), b"", False
    while end > 0:
        start = max(0, end - BLOCK_BYTES)
        file.seek(start)
        rest, *lines = (file.read(end - start) + rest).split(b"\n")
        for line in reversed(lines):
            if is_complete:
                yield line
            is_complete = True  # what follows the last line end is still being written
        end = start
    if is_complete:
        yield rest


def follow(path: Path, count: int, has_ended: Callable[[], bool]) -> Iterator[bytes]:
    """The last `count` lines, then every new line, until `has_ended` and everything is read."""
    lines: deque[bytes] = deque(maxlen=count)
    if before := _open(Path(f"{path}.1")):
        with before:
            lines.extend(_complete_lines(before))
    ended = has_ended()
    file = _open(path)
    lines.extend(_complete_lines(file) if file else ())
    yield from lines
    while not ended:
        time.sleep(POLL_SECONDS)
        ended = has_ended()
        if file is None:
            file = _open(path)
        while file is not None:
            yield from _complete_lines(file)
            if not _is_replaced(path, file):
                break
            yield from _complete_lines(file)
            file.close()
            file = _open(path)
    if file is not None:
        file.close()


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def _complete_lines(file: BinaryIO) -> Iterator[bytes]:
    """From the current position; a line that is still being written is left for the next call."""
    while True:
        start, line = file.tell(), file.readline()
        if not line.endswith(b"\n"):
            file.seek(start)
            return
        yield line


def _is_replaced(path: Path, file: BinaryIO) -> bool:
    try:
        return os.stat(path).st_ino != os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False
