"""From the files of a replica's folder to what the driver says of it."""

from __future__ import annotations

from datetime import datetime

from deployments.drivers.base import ExitRecord, ObservedReplica
from deployments.drivers.local import logfile
from deployments.drivers.local.folder import Exit, Folder, Intent, State
from deployments.states import ReplicaState

TAIL_LINES = 50


def observed(intent: Intent, state: State | None, node: str, folder: Folder) -> ObservedReplica:
    """Without a state the shim has not confirmed yet: the replica has its GPUs and nothing runs."""
    stamps = {ReplicaState(name): _time(at) for name, at in (state.stamps if state else {}).items()}
    asked_at = _time(intent.asked_at)
    stamps.setdefault(ReplicaState.REQUESTING_GPU, asked_at)
    exited = state.exited if state else None
    return ObservedReplica(
        name=intent.name,
        replica_id=intent.replica_id,
        deployment_id=intent.deployment_id,
        state=max(stamps, key=list(ReplicaState).index),
        stamps=stamps,
        heartbeat_at=_time(state.heartbeat_at) if state else asked_at,
        healthy=bool(state and state.healthy),
        node=node,
        address=intent.address,
        gpu_indices=tuple(intent.gpu_indices),
        bytes_done=state.bytes_done if state else None,
        bytes_total=state.bytes_total if state else None,
        exited=_exit_record(exited) if exited else None,
        log_tail=_tail(folder) if exited else "",
    )


def step_of(state: State) -> str:
    """Which step was under way, by the last phase that was entered."""
    return "engine" if ReplicaState.ENGINE_INITIALIZING in state.stamps else "download"


def _exit_record(exited: Exit) -> ExitRecord:
    return ExitRecord(_time(exited.at), exited.code, exited.step)


def _tail(folder: Folder) -> str:
    return "\n".join(logfile.split(line)[1] for line in logfile.last(folder.log_path, TAIL_LINES))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
