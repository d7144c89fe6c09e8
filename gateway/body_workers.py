"""Validates large request bodies in worker processes, so that they do not block the event loop of the gateway.

A worker is this module as a program, started on demand. It reads bodies from its standard input and writes results to
its standard output, one at a time, until its input is closed, so it ends with the gateway however that ends. A frame is
a header (SIZE_AND_TAG) and that many bytes. A worker that has become large ends after its response.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import pickle
import signal
import struct
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence

import psutil

from gateway import openai_errors
from gateway.openai_errors import ErrorResponse
from gateway.request_validation import InferencePath, ValidatedBody, is_quick_to_validate, validate_body

log = logging.getLogger(__name__)
SIZE_AND_TAG = struct.Struct(">IB")  # tag of a request: index of its path; of a response: whether the worker ends now
PATHS = tuple(InferencePath)
WORKER_COMMAND = (sys.executable, "-m", "gateway.body_workers")
WORKER_COUNT = 2
VALIDATION_SECONDS = 60.0  # far more than any body takes on a busy machine; a worker that ends is noticed at once
MAX_WAITING_BYTES = 256 * 1024 * 1024
MAX_WORKER_BYTES = 256 * 1024 * 1024


class WorkerLost(Exception):
    """The worker ended, or did not respond in time."""


class BodyWorkers:
    """The workers of one gateway process. `command` starts one."""

    def __init__(self, command: Sequence[str] = WORKER_COMMAND, seconds: float = VALIDATION_SECONDS) -> None:
        self._command = command
        self._seconds = seconds
        self._idle: list[Process] = []
        self._free = asyncio.Semaphore(WORKER_COUNT)
        self._waiting_bytes = 0
        self._tasks: set[asyncio.Task[ValidatedBody | ErrorResponse]] = set()

    async def validate(self, path: InferencePath, body: bytes) -> ValidatedBody | ErrorResponse:
        """Validate `body` here if that is quick, else in a worker; a lost worker is 503."""
        if is_quick_to_validate(body):
            return validate_body(path, body)
        if self._waiting_bytes + len(body) > MAX_WAITING_BYTES:
            return openai_errors.engine_overloaded("Too many large requests are being read. Try again shortly.", 2)
        # A task of its own: a client that disconnects must not leave a worker in the middle of a response.
        task = asyncio.create_task(self._validate_in_worker(path, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Wait for bodies in progress and end the workers."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        for process in self._idle:
            _close_input(process)
            await process.wait()
        self._idle.clear()

    async def _validate_in_worker(self, path: InferencePath, body: bytes) -> ValidatedBody | ErrorResponse:
        self._waiting_bytes += len(body)
        try:
            async with self._free:
                return await self._run_in_worker(path, body)
        except (WorkerLost, OSError) as error:
            log.error("A worker for large request bodies was lost: %r", error)
            message = "The gateway failed to read this large request. Try again."
            return openai_errors.service_unavailable(message, 2)
        finally:
            self._waiting_bytes -= len(body)

    async def _run_in_worker(self, path: InferencePath, body: bytes) -> ValidatedBody | ErrorResponse:
        while self._idle and self._idle[-1].returncode is not None:
            self._idle.pop()
        process = self._idle.pop() if self._idle else await self._start_worker()
        try:
            async with asyncio.timeout(self._seconds):
                result, is_ending = await _exchange(process, path, body)
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError) as error:
            raise WorkerLost from error
        else:
            if is_ending:
                _close_input(process)
            else:
                self._idle.append(process)
            return result._replace(body=body) if isinstance(result, ValidatedBody) else result
        finally:
            if process not in self._idle:
                await _end(process)

    async def _start_worker(self) -> Process:
        return await asyncio.create_subprocess_exec(*self._command, stdin=PIPE, stdout=PIPE)


async def _exchange(process: Process, path: InferencePath, body: bytes) -> tuple[ValidatedBody | ErrorResponse, bool]:
    assert process.stdin
    assert process.stdout
    process.stdin.write(SIZE_AND_TAG.pack(len(body), PATHS.index(path)))
    process.stdin.write(body)
    await process.stdin.drain()
    size, is_ending = SIZE_AND_TAG.unpack(await process.stdout.readexactly(SIZE_AND_TAG.size))
    data = await process.stdout.readexactly(size)
    result: ValidatedBody | ErrorResponse = pickle.loads(data)  # noqa: S301 - the writer is this module
    return result, bool(is_ending)


def _close_input(process: Process) -> None:
    assert process.stdin
    process.stdin.close()


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


def main() -> None:
    """Serve as a worker until the standard input is closed."""
    gc.disable()  # bodies have no cycles, and the collector would go through millions of values again and again
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the group; the gateway drains first
    source, target = sys.stdin.buffer, sys.stdout.buffer
    while len(header := source.read(SIZE_AND_TAG.size)) == SIZE_AND_TAG.size:
        size, path_index = SIZE_AND_TAG.unpack(header)
        result = validate_body(PATHS[path_index], source.read(size))
        data = pickle.dumps(result._replace(body=b"") if isinstance(result, ValidatedBody) else result)
        is_ending = psutil.Process().memory_info().rss > MAX_WORKER_BYTES
        target.write(SIZE_AND_TAG.pack(len(data), is_ending) + data)
        target.flush()
        if is_ending:
            return


if __name__ == "__main__":
    main()
