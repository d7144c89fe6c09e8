"""Keeps child processes running: starts them, shows what they say, restarts those that die, stops them in time."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable

from console.machine.output import Output
from console.machine.program import Program, ServerFailed, failure

PROBE_SECONDS = 0.1
FIRST_RESTART_SECONDS, LAST_RESTART_SECONDS = 0.25, 15.0
STEADY_SECONDS = 30.0


class Child:
    """One program that is kept running until it is stopped. `changed` is called after every start."""

    def __init__(self, program: Program, output: Output, changed: Callable[[], None]) -> None:
        self.program, self.output, self.changed = program, output, changed
        self.restarts = 0
        self.process: Process | None = None
        self.stopping = False
        self._keeper: asyncio.Task[None] | None = None
        self._readers: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process and self.process.returncode is None else None

    async def start(self) -> None:
        await self._spawn()
        self._keeper = asyncio.create_task(self._keep())

    async def ready(self, seconds: float) -> None:
        """Wait until it answers; raises ServerFailed when it does not within `seconds`."""
        for _ in range(round(seconds / PROBE_SECONDS)):
            if self.pid and await asyncio.to_thread(self.program.answers):
                return
            await asyncio.sleep(PROBE_SECONDS)
        raise ServerFailed(failure(self.program))

    async def stop(self, *, grace_seconds: float) -> None:
        """Ask it to end, kill it after the grace, and return when it is gone."""
        self.stopping = True
        if self._keeper and self.pid is None:
            self._keeper.cancel()
        self.signal(self.program.stop_signal)
        if not await self.ended(grace_seconds):
            self.signal(signal.SIGKILL)
            await self.ended(2.0)

    def signal(self, number: int) -> None:
        if self.process and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    async def ended(self, seconds: float) -> bool:
        """Whether it ended within `seconds`."""
        if not self.process:
            return True
        try:
            await asyncio.wait_for(self.process.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _spawn(self) -> None:
        arguments = self.program.arguments()
        if self.program.log:
            with self.program.log.open("ab") as log:
                self.process = await asyncio.create_subprocess_exec(*self.program.command, stdout=log, **arguments)
        else:
            self.process = await asyncio.create_subprocess_exec(*self.program.command, stdout=PIPE, **arguments)
            reader = asyncio.create_task(self.output.follow(self.name, self.process.stdout))
            self._readers.add(reader)
            reader.add_done_callback(self._readers.discard)
        self.changed()

    async def _keep(self) -> None:
        """Restart it whenever it ends, sooner if it had run for a while."""
        delay = FIRST_RESTART_SECONDS
        while True:
            assert self.process
            lived = await self._outlives(STEADY_SECONDS)
            if self.stopping:
                return
            delay = FIRST_RESTART_SECONDS if lived else delay
            self.output.say(f"{self.name} {ending(self.process.returncode)}; it starts again in {delay:g} s.")
            await asyncio.sleep(delay)
            delay = min(delay * 2, LAST_RESTART_SECONDS)
            self.restarts += 1
            await self._spawn()

    async def _outlives(self, seconds: float) -> bool:
        """Wait for its end; whether it had lived for `seconds` by then."""
        assert self.process
        if await self.ended(seconds):
            return False
        await self.process.wait()
        return True


def ending(code: int | None) -> str:
    """How a process ended, for people."""
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
