"""The shim: a small process that supervises one replica. `python -m deployments.drivers.local.shim FOLDER`.

It runs the steps of `intent.json` (the download, then the engine), probes and reaps them, and records every phase with
its time. It has its own session, so it survives the process that started it; if it is killed, the kernel kills the
engine. Only one shim ever runs in a folder. Standard library only, to start fast.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

from deployments.drivers.local import processes
from deployments.drivers.local.health_probe import HealthProbe
from deployments.drivers.local.logfile import LogWriter
from deployments.drivers.local.processes import Process
from deployments.drivers.local.replica_folder import Exit, Folder, Intent, State, Stop, now

HEARTBEAT_SECONDS = 1.0
TICK_SECONDS = 0.25
DEFAULT_GRACE_SECONDS = 5.0
NOT_EXECUTABLE, NOT_FOUND = 126, 127
LOGGED_PERCENT = 10
REQUESTING_GPU, DOWNLOADING_MODEL = "REQUESTING_GPU", "DOWNLOADING_MODEL"
ENGINE_INITIALIZING, READY = "ENGINE_INITIALIZING", "READY"


class Shim:
    """Supervises one replica on one thread; only the health probe has its own."""

    def __init__(self, folder: Folder, intent: Intent, me: Process) -> None:
        self.folder = folder
        self.intent = intent
        stamps = {REQUESTING_GPU: intent.asked_at}
        self.state = State(me, now().isoformat(), stamps, boot_id=processes.read_boot_id())
        self.log = LogWriter(folder.log_path, now)
        self.step = "download" if intent.download else "engine"
        self.probe: HealthProbe | None = None
        self._stop: Stop | None = None
        self._kill_at: float | None = None
        self._beat_at = 0.0
        self._logged = -1
        self._terminated = False
        self._wakeup = _open_wakeup_pipe()
        signal.signal(signal.SIGTERM, self._terminate)

    def run(self) -> None:
        """Run from the first phase to the exit record."""
        self._save()
        self.folder.note("started", pid=self.state.shim.pid)
        code: int | None = None
        for step, phase, command in self._steps():
            if self._read_stop_request():
                break
            self.step = step
            self._enter(phase)
            code = self._run_step(command)
            if code != 0:
                break
        self._kill_remaining()
        exited = Exit(max(now().isoformat(), *self.state.stamps.values()), code, self.step)
        self.folder.note("exited", code=code, step=self.step, exited_at=exited.at)
        self._save(healthy=False, exited=exited)

    def _steps(self) -> list[tuple[str, str, list[str]]]:
        download = self.intent.download
        first = [("download", DOWNLOADING_MODEL, download)] if download else []
        return [*first, ("engine", ENGINE_INITIALIZING, self.intent.command)]

    def _enter(self, phase: str) -> None:
        at = max(now().isoformat(), *self.state.stamps.values())
        self.folder.note("phase", phase=phase, entered_at=at)
        self._save(stamps={**self.state.stamps, phase: at})

    def _save(self, *, durable: bool = True, **changes: object) -> None:
        beat = max(now().isoformat(), self.state.heartbeat_at)
        self.state = replace(self.state, heartbeat_at=beat, **changes)  # type: ignore[arg-type]
        self.folder.write("state.json", self.state, durable=durable)
        self._beat_at = time.monotonic()

    def _run_step(self, command: Sequence[str]) -> int:
        """Run a program to its end; returns its exit code."""
        child = self._spawn(command)
        if isinstance(child, int):
            return child
        self._save(program=processes.find(child.pid))
        self.folder.note("spawned", step=self.step, pid=child.pid)
        if self.step == "engine":
            self.probe = HealthProbe(self.intent.address, self.intent.health_path)
        self._supervise(child)
        if self.probe:
            self.probe.stop()
        self._read_rest(child)
        return child.returncode

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes] | int:
        own = {"CONSOLE_REPLICA_ID": self.intent.replica_id, "CONSOLE_REPLICA_DIR": str(self.folder.path)}
        try:
            return subprocess.Popen(
                command,
                bufsize=0,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self.intent.environment | own,
                start_new_session=True,
                preexec_fn=processes.die_with_parent(),
            )
        except OSError as error:
            self.log.write(f"{command[0]}: {error.strerror}".encode())
            return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE

    def _supervise(self, child: subprocess.Popen[bytes]) -> None:
        """While a program runs: read its output, record progress and health, send heartbeats, handle stop requests."""
        assert child.stdout is not None
        os.set_blocking(child.stdout.fileno(), False)
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            selector.register(self._wakeup, selectors.EVENT_READ)
            while child.poll() is None:
                for key, _ in selector.select(TICK_SECONDS):
                    if key.fd == self._wakeup:
                        os.read(self._wakeup, 4096)
                    elif not self._read_output(child):
                        selector.unregister(child.stdout)
                self._check_health()
                self._enforce_stop(child)
                if time.monotonic() - self._beat_at >= HEARTBEAT_SECONDS:
                    self._save(durable=False)

    def _read_output(self, child: subprocess.Popen[bytes]) -> bool:
        """Read what is available; False at the end of the output."""
        assert child.stdout is not None
        try:
            data = os.read(child.stdout.fileno(), 65536)
        except BlockingIOError:
            return True
        for line in self.log.feed(data):
            self._handle_line(line)
        return bool(data)

    def _read_rest(self, child: subprocess.Popen[bytes]) -> None:
        """Read the remaining output, without waiting for children that hold the pipe open."""
        assert child.stdout is not None
        with child.stdout as output, contextlib.suppress(BlockingIOError):
            while data := os.read(output.fileno(), 65536):
                for line in self.log.feed(data):
                    self._handle_line(line)
        for line in self.log.flush():
            self._handle_line(line)

    def _handle_line(self, line: bytes) -> None:
        if self.step == "download" and line.startswith(b"{") and self._record_progress(line):
            return
        self.log.write(line)

    def _record_progress(self, line: bytes) -> bool:
        """Record a progress line, and log every LOGGED_PERCENT; False if it is not a progress line."""
        try:
            data = json.loads(line)
            done, total = int(data["done"]), int(data["total"])
        except (ValueError, KeyError, TypeError):
            return False
        self.state = replace(self.state, bytes_done=done, bytes_total=total)
        percent = 100 * done // total if total else 100
        if percent // LOGGED_PERCENT > self._logged:
            self._logged = percent // LOGGED_PERCENT
            self.log.write(f"Downloaded {done / 1e9:.2f} of {total / 1e9:.2f} GB ({percent} %)".encode())
        return True

    def _check_health(self) -> None:
        if self.probe is None:
            return
        healthy = self.probe.healthy
        if healthy and READY not in self.state.stamps:
            self._enter(READY)
            self.probe.slow_down()
        if healthy != self.state.healthy:
            self._save(healthy=healthy)
            self.folder.note("healthy" if healthy else "unhealthy")

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._terminated = True

    def _read_stop_request(self) -> Stop | None:
        """The driver's request, or a default one after SIGTERM without a request."""
        stop = None if self._stop else self.folder.stop()
        if self._terminated and not (self._stop or stop):
            stop = Stop(now().isoformat(), DEFAULT_GRACE_SECONDS)
        if stop:
            self._stop = stop
            self.folder.note("asked to stop", grace_seconds=stop.grace_seconds)
        return self._stop

    def _enforce_stop(self, child: subprocess.Popen[bytes]) -> None:
        """Terminate on the first call, kill when the grace period is over."""
        stop = self._read_stop_request()
        if stop is None:
            return
        if self._kill_at is None:
            self._kill_at = time.monotonic() + stop.grace_seconds
            self.folder.note("terminate", pid=child.pid)
            child.terminate()
        elif time.monotonic() >= self._kill_at:
            self.folder.note("kill", pid=child.pid)
            child.kill()
            child.wait()

    def _kill_remaining(self) -> None:
        """Kill and reap every process that the replica left behind."""
        while processes.kill_replica(self.intent.replica_id):
            _reap()
            time.sleep(0.01)
        _reap()


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _open_wakeup_pipe() -> int:
    """A descriptor that becomes readable at SIGTERM and SIGCHLD."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # not SIG_IGN, which the engine would inherit
    return reader


def main(path: str) -> int:
    """Detach, then run as long as the replica; returns at once if a shim runs or has run in the folder."""
    if os.fork():
        os._exit(0)
    os.setsid()
    folder = Folder(Path(path))
    lock = folder.try_lock()
    if lock is None or folder.state() is not None:
        return 0
    intent, me = folder.intent(), processes.find(os.getpid())
    if intent is None or me is None:
        return 1
    processes.adopt_orphans()
    Shim(folder, intent, me).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
