"""Causes that the console finds by itself; what an engine's own exit means is for its engine to say. Pure."""

from __future__ import annotations

from deployments.causes import Cause, last_lines
from deployments.reconciler import deadlines
from deployments.reconciler.snapshot import Policy
from deployments.states import ReplicaState


def of(problem: str, policy: Policy, log_tail: str, weight_bytes: int = 0) -> Cause:
    """The cause for a key that `fate` gave: "unhealthy", or "deadline:" and a state. Bytes are the model's weights."""
    evidence = last_lines(log_tail)
    if problem == "unhealthy":
        return Cause(
            "unhealthy",
            f"The engine stopped answering its health probe for {policy.unhealthy_deadline_seconds:g} s.",
            evidence or "No answer to the health probe.",
            "Read the end of the replica's log. Edit: a shorter context or a lower max concurrency relieves it.",
        )
    state = ReplicaState(problem.removeprefix("deadline:"))
    return _DEADLINES[state](limit(state, policy, weight_bytes), evidence)


def limit(state: ReplicaState, policy: Policy, weight_bytes: int) -> str:
    """The deadline that was in force, in words; with the part that the weights earned where there is one."""
    base, floors = policy.phase_deadline_seconds[state.value], policy.floor_mib_per_second
    whole = deadlines.deadline_seconds(state.value, base, weight_bytes, floors)
    if whole == base:
        return f"{base:g} s"
    earned = f"{weight_bytes / 2**30:.1f} GiB of weights at {floors[state.value]:g} MiB/s"
    return f"{whole:.0f} s ({base:g} s, and {whole - base:.0f} s for {earned})"


def vanished(log_tail: str) -> Cause:
    return Cause(
        "vanished",
        "The replica disappeared from the cluster without a record of how it ended.",
        last_lines(log_tail) or "The cluster has no trace of it.",
        "Check whether somebody removed it by hand or its node was lost; a replacement starts by itself.",
    )


def refused(message: str) -> Cause:
    return Cause(
        "start_refused",
        "The cluster refused to start the replica.",
        message,
        "Correct what the evidence names with Edit, or Clone the deployment to another endpoint; then press Retry.",
    )


def _no_gpu(limit: str, evidence: str) -> Cause:
    return Cause(
        "gpu_not_granted",
        f"The cluster did not give the replica its GPUs within {limit}.",
        evidence or "The cluster never showed the replica with GPUs.",
        "Check the cluster's capacity and press Retry, or Clone the deployment for another GPU type.",
    )


def _slow_download(limit: str, evidence: str) -> Cause:
    return Cause(
        "download_too_slow",
        f"The model was not downloaded within {limit}.",
        evidence or "The download made no end.",
        "Check the network between the cluster and the model's source, then press Retry. Operators set the limit: "
        "PHASE_DEADLINE_DOWNLOADING_MODEL_SECONDS and DOWNLOAD_FLOOR_MIB_PER_SECOND.",
    )


def _never_healthy(limit: str, evidence: str) -> Cause:
    return Cause(
        "never_healthy",
        f"The engine started but its health probe did not succeed within {limit}.",
        evidence or "The health probe never answered 200.",
        "Read the end of the replica's log; correct the settings with Edit, or press Retry. Operators set the limit: "
        "PHASE_DEADLINE_ENGINE_INITIALIZING_SECONDS and INITIALIZE_FLOOR_MIB_PER_SECOND.",
    )


_DEADLINES = {
    ReplicaState.REQUESTING_GPU: _no_gpu,
    ReplicaState.DOWNLOADING_MODEL: _slow_download,
    ReplicaState.ENGINE_INITIALIZING: _never_healthy,
}
