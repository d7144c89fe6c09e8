"""The local cluster: one OS process per replica, under a shim, all facts in one folder per replica.

The driver holds nothing in memory: another process, or the same after a restart, sees the same replicas. What is
written into a folder is a promise, and whoever looks next keeps it: an intent without a shim gets one, a stop whose
grace has passed is enforced, what a killed shim left behind is killed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from deployments.drivers.base import (
    Capacity,
    DriverError,
    LogLine,
    Observation,
    ObservedReplica,
    ReplicaChanged,
    ReplicaSpec,
)
from deployments.drivers.local import inventory, launching, logfile, processes, report
from deployments.drivers.local.folder import Exit, Folder, Intent, State, Stop, Unreadable, now, sync_folder
from deployments.drivers.local.processes import Process
from deployments.states import ReplicaState

WATCH_SECONDS = 0.3
UNSTARTED_SECONDS = 2.0
OVERDUE_SECONDS = 1.0
NOBODY = Process(0, 0)
KEPT_ACCOUNTS = 500
RECORD = ("intent.json", "stop.json", "state.json", "engine.log", "engine.log.1", "shim.lock")  # the intent first


class LocalDriver:
    """Replicas below `folder`. `declared`: GPUs by type id where the hardware has none."""

    staleness_seconds = 0.0

    def __init__(self, folder: Path, declared: Mapping[str, int]) -> None:
        self._root = folder
        self._declared = dict(declared)
        self._node = socket.gethostname()
        self._environment = launching.environment(os.environ, folder.parent.parent)

    def observe(self) -> Observation:
        listed_at, complete, replicas = now(), True, []
        for folder in self._folders():
            try:
                seen = self._look(folder)
            except (Unreadable, OSError, DriverError):
                complete = False
            else:
                replicas += [seen] if seen else []
        return Observation(tuple(replicas), listed_at, complete)

    def find(self, name: str) -> ObservedReplica | None:
        with _files_of(name):
            return self._look(self._folder(name))

    def watch(self) -> Iterator[ReplicaChanged]:
        before = self._what_matters()
        while True:
            time.sleep(WATCH_SECONDS)
            after = self._what_matters()
            changed = {(before | after)[name][0] for name in before | after if before.get(name) != after.get(name)}
            yield from map(ReplicaChanged, sorted(changed))
            before = after

    def start(self, spec: ReplicaSpec) -> None:
        folder = self._folder(spec.name)
        with _files_of(spec.name), self._locked():
            if not folder.path.exists():
                self._promise(folder, spec)
            elif folder.intent() is None:
                raise DriverError(f"The replica {spec.name} has ended and was forgotten.", retryable=False)
        with _files_of(spec.name):
            self._keep_promise(folder)

    def stop(self, name: str, grace_seconds: float) -> None:
        folder = self._folder(name)
        seen = self.find(name)
        if seen is None or seen.exited:
            return
        with _files_of(name):
            if folder.stop() is None:
                folder.write("stop.json", Stop(now().isoformat(), grace_seconds))
            state = folder.state() or self._end_unstarted(folder)
        if state is not None:
            state.shim.signal(signal.SIGTERM)

    def forget(self, name: str) -> None:
        folder = self._folder(name)
        seen = self.find(name)
        if seen is not None and seen.exited is None:
            raise DriverError(f"The replica {name} still runs; stop it first.", retryable=True)
        with _files_of(name):
            for part in RECORD:
                (folder.path / part).unlink(missing_ok=True)
            self._keep_newest_accounts()

    def _keep_newest_accounts(self) -> None:
        """The shim's log and the engine's own count of requests outlive the record, for whoever checks the ledger."""
        forgotten = [one.path for one in self._folders() if not (one.path / RECORD[0]).exists()]
        if len(forgotten) > KEPT_ACCOUNTS:
            oldest = min(forgotten, key=lambda path: path.stat().st_mtime)
            shutil.rmtree(oldest, ignore_errors=True)

    def logs(self, name: str, *, follow: bool, tail: int, since: datetime | None = None) -> Iterator[LogLine]:
        def has_ended() -> bool:
            seen = self.find(name)
            return seen is None or seen.exited is not None

        path = self._folder(name).log_path
        with _files_of(name):
            lines = logfile.follow(path, tail, has_ended) if follow else logfile.last(path, tail, since)
        return (LogLine(*logfile.split(line)) for line in lines)

    def capacity(self) -> Capacity:
        gpus = self._inventory()
        return Capacity(gpus.counts, gpus.simulated)

    def check(self) -> None:
        try:
            with self._locked():
                pass
        except OSError as error:
            message = f"The folder of the local cluster, {self._root}, cannot be written: {error.strerror}."
            raise DriverError(message, retryable=False) from error

    def _what_matters(self) -> dict[str, tuple[str, ReplicaState, bool, bool]]:
        """What a watcher wants to hear of, by name: deployment, phase, health, end; not each heartbeat."""
        return {
            one.name: (one.deployment_id, one.state, one.healthy, one.exited is not None)
            for one in self.observe().replicas
        }

    def _inventory(self) -> inventory.Inventory:
        return inventory.of(self._declared, inventory.found())

    def _folder(self, name: str) -> Folder:
        return Folder(self._root / name)

    def _folders(self) -> list[Folder]:
        try:
            names = sorted(entry.name for entry in os.scandir(self._root) if not entry.name.startswith("."))
        except FileNotFoundError:
            return []
        return [self._folder(name) for name in names]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One at a time in this cluster, whichever process it is: ports and GPUs are handed out once."""
        self._root.mkdir(parents=True, exist_ok=True)
        with (self._root / ".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _promise(self, folder: Folder, spec: ReplicaSpec) -> None:
        """Make the replica's folder with its intent, whole or not at all."""
        live = list(self._live_intents())
        gpus = self._inventory()
        if len(gpus.indices.get(spec.gpu_type, ())) < spec.gpu_count:
            raise DriverError(f"The cluster has no {spec.gpu_count} × {spec.gpu_type}.", retryable=False)
        chosen = gpus.choose(spec.gpu_type, spec.gpu_count, {index for one in live for index in one.gpu_indices})
        if chosen is None:
            raise DriverError(f"No {spec.gpu_count} × {spec.gpu_type} are free now.", retryable=True)
        port = launching.free_port({one.port for one in live})
        draft = Folder(self._root / f".draft-{spec.name}")
        shutil.rmtree(draft.path, ignore_errors=True)
        draft.path.mkdir()
        promise = launching.intent(spec, chosen, port, self._environment, simulated=gpus.simulated)
        draft.write("intent.json", promise)
        draft.path.rename(folder.path)
        sync_folder(self._root)

    def _live_intents(self) -> Iterator[Intent]:
        """Of every replica that may still hold GPUs; one that cannot be read makes it impossible to say."""
        for folder in self._folders():
            try:
                intent, state = folder.intent(), folder.state()
            except Unreadable as error:
                raise DriverError(f"Which GPUs are free cannot be said: {error}", retryable=True) from error
            if intent and not (state and state.exited):
                yield intent

    def _look(self, folder: Folder) -> ObservedReplica | None:
        intent = folder.intent()
        if intent is None:
            return None
        state, stop = folder.state(), folder.stop()
        if state is None and folder.intent() is None:  # forgotten in between
            return None
        if state is None and _is_past(intent.asked_at, UNSTARTED_SECONDS):
            self._keep_promise(folder)
            state = folder.state()
        if state and state.exited is None:
            if stop and _is_past(stop.asked_at, stop.grace_seconds + OVERDUE_SECONDS):
                state.shim.signal(signal.SIGKILL)
            if not state.shim.lives:
                state = self._bury(folder, intent)
        return report.observed(intent, state, self._node, folder)

    def _keep_promise(self, folder: Folder) -> None:
        """Start the shim of an intent that has none; the shim itself refuses to be the second."""
        if folder.state() is None:
            launching.start_shim(folder, self._environment)

    def _end_unstarted(self, folder: Folder) -> State | None:
        """End a replica that has no shim yet, so that none can start any more; returns the state of one that has."""
        lock = folder.try_lock()
        if lock is None:
            return None
        try:
            if state := folder.state():
                return state
            at = now().isoformat()
            folder.write("state.json", State(NOBODY, at, {}, exited=Exit(at, None, "download")))
            return None
        finally:
            os.close(lock)

    def _bury(self, folder: Folder, intent: Intent) -> State | None:
        """The shim is gone. What it left behind is killed; once nothing is left, the end is its last heartbeat."""
        state = folder.state()
        if state is None or state.exited or processes.kill_replica(intent.replica_id):
            return state
        exited = Exit(state.heartbeat_at, None, report.step_of(state))
        buried = State(**(vars(state) | {"healthy": False, "exited": exited}))
        folder.write("state.json", buried)
        folder.note("lost", ended_at=exited.at)
        return buried


@contextmanager
def _files_of(name: str) -> Iterator[None]:
    """A full disk or a damaged file is the cluster's trouble with one replica, which may pass."""
    try:
        yield
    except (Unreadable, OSError) as error:
        raise DriverError(f"The files of replica {name} cannot be used: {error}", retryable=True) from error


def _is_past(moment: str, seconds: float) -> bool:
    return now() > datetime.fromisoformat(moment) + timedelta(seconds=seconds)
