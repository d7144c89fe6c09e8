"""What people see of the processes: their lines, each with its process in front, coloured on a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import TextIO

COLOURS = {
    "console": "1", "setup": "37", "web": "36", "gateway": "32", "worker": "35", "beat": "34", "watch": "33",
    "postgresql": "94", "valkey": "91",
}  # fmt: skip
WIDTH = 8
LINE_BYTES = 64 * 1024


class Output:
    """Writes lines to `stream`; a reader that has gone away is no reason to stop."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.coloured = self.stream.isatty() and "NO_COLOR" not in os.environ

    def line(self, name: str, text: str) -> None:
        label = f"{name[:WIDTH]:<{WIDTH}} │"
        if self.coloured:
            label = f"\x1b[{COLOURS.get(name, '0')}m{label}\x1b[0m"
        self.write(f"{label} {text}\n")

    def say(self, text: str) -> None:
        """A line of the console itself."""
        self.line("console", text)

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(text)
            self.stream.flush()

    async def follow(self, name: str, source: asyncio.StreamReader | None) -> None:
        """Show every line of `source` until its end; a line without end is cut at LINE_BYTES."""
        rest = b""
        while source and (chunk := await source.read(LINE_BYTES)):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self.line(name, line.decode(errors="replace").rstrip())
            if len(rest) > LINE_BYTES:
                self.line(name, rest.decode(errors="replace"))
                rest = b""
        if rest:
            self.line(name, rest.decode(errors="replace"))
