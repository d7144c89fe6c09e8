"""Causes that the console finds by itself; what an engine's own exit means is for its engine to say. Pure."""

from __future__ import annotations

from deployments.causes import Cause, last_lines
from deployments.reconciler.snapshot import Policy
from deployments.states import ReplicaState


def of(problem: str, policy: Policy, log_tail: str) -> Cause:
    """The cause for a key that `fate` gave: "unhealthy", or "deadline:" and a state."""
    evidence = last_lines(log_tail)
    if problem == "unhealthy":
        return Cause(
            "unhealthy",
            f"The engine stopped answering its health probe for {policy.unhealthy_deadline_seconds:g} s.",
            evidence or "No answer to the health probe.",
            "Read the end of the replica's log; a smaller context length or concurrency relieves an overloaded engine.",
        )
    state = ReplicaState(problem.removeprefix("deadline:"))
    seconds = policy.phase_deadline_seconds[state.value]
    return _DEADLINES[state](f"{seconds:g} s", evidence)


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
        "Correct what the evidence names, or choose another endpoint, then deploy again.",
    )


def _no_gpu(limit: str, evidence: str) -> Cause:
    return Cause(
        "gpu_not_granted",
        f"The cluster did not give the replica its GPUs within {limit}.",
        evidence or "The cluster never showed the replica with GPUs.",
        "Check the cluster's capacity, or choose another GPU type.",
    )


def _slow_download(limit: str, evidence: str) -> Cause:
    return Cause(
        "download_too_slow",
        f"The model was not downloaded within {limit}.",
        evidence or "The download made no end.",
        "Check the network between the cluster and the model's source, then deploy again.",
    )


def _never_healthy(limit: str, evidence: str) -> Cause:
    return Cause(
        "never_healthy",
        f"The engine started but its health probe did not succeed within {limit}.",
        evidence or "The health probe never answered 200.",
        "Read the end of the replica's log; check the engine's settings, or give it more time to initialize.",
    )


_DEADLINES = {
    ReplicaState.REQUESTING_GPU: _no_gpu,
    ReplicaState.DOWNLOADING_MODEL: _slow_download,
    ReplicaState.ENGINE_INITIALIZING: _never_healthy,
}
