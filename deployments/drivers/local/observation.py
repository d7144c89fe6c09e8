"""Builds an `ObservedReplica` from the files of a replica's folder."""

from __future__ import annotations

from datetime import datetime

from deployments.drivers.base import ExitRecord, ObservedReplica
from deployments.drivers.local import logfile
from deployments.drivers.local.replica_folder import Exit, Folder, Intent, State
from deployments.states import ReplicaState

TAIL_LINES = 50


def build(intent: Intent, state: State | None, node: str, folder: Folder) -> ObservedReplica:
    """`state` None: no shim has written its state yet; the replica holds its GPUs and runs nothing."""
    stamps = {ReplicaState(name): _parse_time(at) for name, at in (state.stamps if state else {}).items()}
    asked_at = _parse_time(intent.asked_at)
    stamps.setdefault(ReplicaState.REQUESTING_GPU, asked_at)
    exited = state.exited if state else None
    tail = logfile.read_last(folder.log_path, TAIL_LINES) if exited else []
    return ObservedReplica(
        name=intent.name,
        replica_id=intent.replica_id,
        deployment_id=intent.deployment_id,
        state=max(stamps, key=list(ReplicaState).index),
        stamps=stamps,
        heartbeat_at=_parse_time(state.heartbeat_at) if state else asked_at,
        healthy=bool(state and state.healthy),
        node=node,
        address=intent.address,
        gpu_indices=tuple(intent.gpu_indices),
        bytes_done=state.bytes_done if state else None,
        bytes_total=state.bytes_total if state else None,
        exited=_build_exit(exited) if exited else None,
        log_tail="\n".join(text for _, text in map(logfile.split, tail)),
    )


def _build_exit(exited: Exit) -> ExitRecord:
    at = _parse_time(exited.at)
    return ExitRecord(at, exited.code, exited.step, machine_restarted=exited.machine_restarted)


def current_step(state: State) -> str:
    """The step of the last phase that was entered."""
    return "engine" if ReplicaState.ENGINE_INITIALIZING in state.stamps else "download"


def _parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text)
