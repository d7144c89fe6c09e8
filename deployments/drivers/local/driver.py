"""The local cluster: one process per replica, supervised by a shim, with all state in one folder per replica.

The driver holds no state in memory: another process, or the same one after a restart, sees the same replicas. The files
of a folder are intents, and every observation completes them: it starts a missing shim, enforces a stop whose grace
period has passed, and kills what a killed shim left behind.

The folder must carry the id of the installation, and so do its replicas; anything else is left alone.
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

from deployments.codes import ClusterProblem
from deployments.drivers.base import (
    Capacity,
    DriverError,
    LogLine,
    Observation,
    ObservedReplica,
    ReplicaChanged,
    ReplicaSpec,
)
from deployments.drivers.local import gpu_detection, installation, launch, logfile, observation, processes
from deployments.drivers.local.processes import Process
from deployments.drivers.local.replica_folder import Exit, Folder, Intent, State, Stop, Unreadable, now, sync_folder
from deployments.states import ReplicaState

WATCH_INTERVAL_SECONDS = 0.3
SHIM_START_SECONDS = 2.0
OVERDUE_SECONDS = 1.0
NO_PROCESS = Process(0, 0)
MAX_FORGOTTEN_FOLDERS = 500
RECORD_FILES = ("intent.json", "stop.json", "state.json", "engine.log", "engine.log.1", "shim.lock")  # the intent first


class LocalDriver:
    """Replicas of an installation below `folder`. `declared`: GPUs by type id, simulated if the hardware lacks them."""

    staleness_seconds = 0.0

    def __init__(self, folder: Path, declared: Mapping[str, int], installation_id: str) -> None:
        self._root = folder
        self._installation_id = installation_id
        self._declared = dict(declared)
        self._node = socket.gethostname()
        self._environment = launch.build_environment(os.environ, folder.parent.parent, installation_id)

    def observe(self) -> Observation:
        self._check_installation()
        listed_at, complete, replicas = now(), True, []
        for folder in self._list_folders():
            try:
                seen = self._observe(folder)
            except (Unreadable, OSError, DriverError):
                complete = False
            else:
                replicas += [seen] if seen else []
        return Observation(tuple(replicas), listed_at, complete)

    def find(self, name: str) -> ObservedReplica | None:
        self._check_installation()
        with _file_errors(name):
            return self._observe(self._folder(name))

    def watch(self) -> Iterator[ReplicaChanged]:
        before = self._watched_state()
        while True:
            time.sleep(WATCH_INTERVAL_SECONDS)
            after = self._watched_state()
            changed = {(before | after)[name][0] for name in before | after if before.get(name) != after.get(name)}
            yield from map(ReplicaChanged, sorted(changed))
            before = after

    def start(self, spec: ReplicaSpec) -> None:
        self._check_installation()
        folder = self._folder(spec.name)
        with _file_errors(spec.name), self._lock():
            if not folder.path.exists():
                self._write_intent(folder, spec)
            elif folder.intent() is None:
                raise DriverError(f"The replica {spec.name} has ended and was forgotten.", retryable=False)
        with _file_errors(spec.name):
            self._ensure_shim(folder)

    def stop(self, name: str, grace_seconds: float) -> None:
        folder = self._folder(name)
        seen = self.find(name)
        if seen is None or seen.exited:
            return
        with _file_errors(name):
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
        with _file_errors(name):
            for part in RECORD_FILES:
                (folder.path / part).unlink(missing_ok=True)
            self._prune_forgotten()

    def _prune_forgotten(self) -> None:
        """Limit the folders of forgotten replicas, whose logs of shim and requests remain to verify usage."""
        forgotten = [folder.path for folder in self._list_folders() if not (folder.path / RECORD_FILES[0]).exists()]
        if len(forgotten) > MAX_FORGOTTEN_FOLDERS:
            oldest = min(forgotten, key=lambda path: path.stat().st_mtime)
            shutil.rmtree(oldest, ignore_errors=True)

    def logs(self, name: str, *, follow: bool, tail: int, since: datetime | None = None) -> Iterator[LogLine]:
        self._check_installation()

        def has_ended() -> bool:
            seen = self.find(name)
            return seen is None or seen.exited is not None

        path = self._folder(name).log_path
        with _file_errors(name):
            lines = logfile.follow(path, tail, has_ended) if follow else logfile.read_last(path, tail, since)
        return (LogLine(*logfile.split(line)) for line in lines)

    def capacity(self) -> Capacity:
        gpus = self._read_inventory()
        return Capacity(gpus.counts, gpus.simulated)

    def check(self) -> None:
        try:
            self._check_installation()
            with self._lock():
                pass
        except (DriverError, OSError) as error:
            message = f"The folder of the local cluster, {self._root}, cannot be used: {error}"
            raise DriverError(message, retryable=False) from error

    def _watched_state(self) -> dict[str, tuple[str, ReplicaState, bool, bool]]:
        """By replica name: the deployment, and what `watch` reports changes of, which excludes heartbeats."""
        return {
            replica.name: (replica.deployment_id, replica.state, replica.healthy, replica.exited is not None)
            for replica in self.observe().replicas
        }

    def _read_inventory(self) -> gpu_detection.Inventory:
        return gpu_detection.combine(self._declared, gpu_detection.detect())

    def _folder(self, name: str) -> Folder:
        return Folder(self._root / name)

    def _check_installation(self) -> None:
        """Raises `DriverError` unless the folder is that of this installation: then its absence proves nothing."""
        if problem := installation.find_problem(self._root, self._installation_id):
            raise DriverError(f"The cluster's data folder {problem.clause}.", retryable=True, problem=problem.code)

    def _list_folders(self) -> list[Folder]:
        try:
            names = sorted(entry.name for entry in os.scandir(self._root) if not entry.name.startswith("."))
        except OSError as error:
            raise DriverError(
                f"The cluster's data folder cannot be listed: {error.strerror}.",
                retryable=True,
                problem=ClusterProblem.DATA_FOLDER_UNREADABLE,
            ) from error
        return [self._folder(name) for name in names]

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Exclusive in this cluster, across processes: each port and GPU is assigned once."""
        with (self._root / ".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _write_intent(self, folder: Folder, spec: ReplicaSpec) -> None:
        """Create the replica's folder with its intent, atomically."""
        live = list(self._live_intents())
        gpus = self._read_inventory()
        if len(gpus.indices.get(spec.gpu_type, ())) < spec.gpu_count:
            raise DriverError(f"The cluster has no {spec.gpu_count} × {spec.gpu_type}.", retryable=False)
        taken = spec.held_gpu_indices | {index for intent in live for index in intent.gpu_indices}
        chosen = gpus.choose(spec.gpu_type, spec.gpu_count, taken)
        if chosen is None:
            raise DriverError(f"No {spec.gpu_count} × {spec.gpu_type} are free now.", retryable=True)
        port = launch.find_free_port({intent.port for intent in live})
        draft = Folder(self._root / f".draft-{spec.name}")
        shutil.rmtree(draft.path, ignore_errors=True)
        draft.path.mkdir()
        intent = launch.build_intent(
            spec, self._installation_id, chosen, port, self._environment, simulated=gpus.simulated
        )
        draft.write("intent.json", intent)
        draft.path.rename(folder.path)
        sync_folder(self._root)

    def _live_intents(self) -> Iterator[Intent]:
        """The intent of every replica that may still hold GPUs, of any installation. Raises `DriverError` if one cannot
        be read."""
        for folder in self._list_folders():
            try:
                intent, state = folder.intent(), folder.state()
            except Unreadable as error:
                raise DriverError(f"Which GPUs are free cannot be said: {error}", retryable=True) from error
            if intent and not (state and state.exited) and self._may_run(intent, state):
                yield intent

    def _may_run(self, intent: Intent, state: State | None) -> bool:
        """What another installation left behind holds its GPUs only while its shim lives: nobody records its end."""
        return intent.installation_id == self._installation_id or bool(state and state.shim.is_alive)

    def _observe(self, folder: Folder) -> ObservedReplica | None:
        intent = folder.intent()
        if intent is None or intent.installation_id != self._installation_id:
            return None
        state, stop = folder.state(), folder.stop()
        if state is None and folder.intent() is None:  # forgotten in between
            return None
        if state is None and _is_past(intent.asked_at, SHIM_START_SECONDS):
            self._ensure_shim(folder)
            state = folder.state()
        if state and state.exited is None:
            if stop and _is_past(stop.asked_at, stop.grace_seconds + OVERDUE_SECONDS):
                state.shim.signal(signal.SIGKILL)
            if not state.shim.is_alive:
                state = self._record_lost(folder, intent)
        return observation.build(intent, state, self._node, folder)

    def _ensure_shim(self, folder: Folder) -> None:
        """Start the shim of an intent that has none. A second shim in the same folder exits by itself."""
        if folder.state() is None:
            launch.start_shim(folder, self._environment)

    def _end_unstarted(self, folder: Folder) -> State | None:
        """End a replica without a shim, so that none can start any more; returns the state if one has started."""
        lock = folder.try_lock()
        if lock is None:
            return None
        try:
            if state := folder.state():
                return state
            at = now().isoformat()
            folder.write("state.json", State(NO_PROCESS, at, {}, exited=Exit(at, None, "download")))
            return None
        finally:
            os.close(lock)

    def _record_lost(self, folder: Folder, intent: Intent) -> State | None:
        """The shim is gone: kill its processes; when none is left, record its last heartbeat as the exit."""
        state = folder.state()
        if state is None or state.exited or processes.kill_replica(intent.replica_id):
            return state
        machine_restarted = state.boot_id != processes.read_boot_id()
        exited = Exit(state.heartbeat_at, None, observation.current_step(state), machine_restarted)
        lost = State(**(vars(state) | {"healthy": False, "exited": exited}))
        folder.write("state.json", lost)
        folder.note("lost", ended_at=exited.at)
        return lost


@contextmanager
def _file_errors(name: str) -> Iterator[None]:
    """Raise a full disk or a damaged file as a retryable `DriverError` of this replica."""
    try:
        yield
    except (Unreadable, OSError) as error:
        raise DriverError(f"The files of replica {name} cannot be used: {error}", retryable=True) from error


def _is_past(moment: str, seconds: float) -> bool:
    return now() > datetime.fromisoformat(moment) + timedelta(seconds=seconds)
