"""Terminal output of `manage.py up`: the lines of all processes, each prefixed with its process name."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import TextIO

COLOURS = {
    "console": "1", "setup": "37", "web": "36", "gateway": "32", "worker": "35", "ingest": "95", "publish": "92",
    "beat": "34", "watch": "33", "postgresql": "94", "valkey": "91",
}  # fmt: skip
NAME_WIDTH = 8
MAX_LINE_BYTES = 64 * 1024


class TerminalOutput:
    """Writes lines to `stream` (default: stdout), coloured on a terminal. A closed stream is ignored."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.is_coloured = self.stream.isatty() and "NO_COLOR" not in os.environ

    def write_line(self, name: str, text: str) -> None:
        label = f"{name[:NAME_WIDTH]:<{NAME_WIDTH}} │"
        if self.is_coloured:
            label = f"\x1b[{COLOURS.get(name, '0')}m{label}\x1b[0m"
        self.write(f"{label} {text}\n")

    def write_console_line(self, text: str) -> None:
        """Write a line of `up` itself."""
        self.write_line("console", text)

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(text)
            self.stream.flush()

    async def relay_lines(self, name: str, source: asyncio.StreamReader | None) -> None:
        """Write every line of `source` until its end; lines longer than MAX_LINE_BYTES are split."""
        rest = b""
        while source and (chunk := await source.read(MAX_LINE_BYTES)):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self.write_line(name, line.decode(errors="replace").rstrip())
            if len(rest) > MAX_LINE_BYTES:
                self.write_line(name, rest.decode(errors="replace"))
                rest = b""
        if rest:
            self.write_line(name, rest.decode(errors="replace"))
