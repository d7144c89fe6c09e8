"""Supervises child processes: starts them, relays their output, restarts those that end, stops them in time."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable

from console.machine.process_spec import ProcessSpec, ProcessStartFailed, describe_start_failure
from console.machine.terminal_output import TerminalOutput

PROBE_SECONDS = 0.1
FIRST_RESTART_SECONDS, LAST_RESTART_SECONDS = 0.25, 15.0
STEADY_SECONDS = 30.0


class SupervisedProcess:
    """A process that is restarted until it is stopped. `on_start` is called after every start."""

    def __init__(self, spec: ProcessSpec, output: TerminalOutput, on_start: Callable[[], None]) -> None:
        self.spec, self.output, self.on_start = spec, output, on_start
        self.restarts = 0
        self.process: Process | None = None
        self.is_stopping = False
        self._supervision: asyncio.Task[None] | None = None
        self._readers: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process and self.process.returncode is None else None

    async def start(self) -> None:
        await self._spawn()
        self._supervision = asyncio.create_task(self._supervise())

    async def wait_until_ready(self, seconds: float) -> None:
        """Wait until the process is ready. Raises ProcessStartFailed after `seconds`."""
        for _ in range(round(seconds / PROBE_SECONDS)):
            if self.pid and await asyncio.to_thread(self.spec.is_ready):
                return
            await asyncio.sleep(PROBE_SECONDS)
        raise ProcessStartFailed(describe_start_failure(self.spec))

    async def stop(self, *, grace_seconds: float) -> None:
        """Send the stop signal, kill the process after `grace_seconds`, and wait for its end."""
        self.is_stopping = True
        if self._supervision and self.pid is None:
            self._supervision.cancel()
        self.send_signal(self.spec.stop_signal)
        if not await self.wait_for_end(grace_seconds):
            self.send_signal(signal.SIGKILL)
            await self.wait_for_end(2.0)

    def send_signal(self, number: int) -> None:
        if self.process and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    async def wait_for_end(self, seconds: float) -> bool:
        """Wait up to `seconds`; returns whether the process has ended."""
        if not self.process:
            return True
        try:
            await asyncio.wait_for(self.process.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _spawn(self) -> None:
        arguments = self.spec.build_arguments()
        if self.spec.log:
            with self.spec.log.open("ab") as log:
                self.process = await asyncio.create_subprocess_exec(*self.spec.command, stdout=log, **arguments)
        else:
            self.process = await asyncio.create_subprocess_exec(*self.spec.command, stdout=PIPE, **arguments)
            reader = asyncio.create_task(self.output.relay_lines(self.name, self.process.stdout))
            self._readers.add(reader)
            reader.add_done_callback(self._readers.discard)
        self.on_start()

    async def _supervise(self) -> None:
        """Restart the process whenever it ends; the delay doubles, and is reset after STEADY_SECONDS of running."""
        delay = FIRST_RESTART_SECONDS
        while True:
            assert self.process
            was_steady = not await self.wait_for_end(STEADY_SECONDS)
            await self.process.wait()
            if self.is_stopping:
                return
            delay = FIRST_RESTART_SECONDS if was_steady else delay
            self.output.write_console_line(
                f"{self.name} {describe_exit(self.process.returncode)}; it starts again in {delay:g} s."
            )
            await asyncio.sleep(delay)
            delay = min(delay * 2, LAST_RESTART_SECONDS)
            self.restarts += 1
            await self._spawn()


def describe_exit(code: int | None) -> str:
    """Describe how a process ended; `code` is negative for a signal."""
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
