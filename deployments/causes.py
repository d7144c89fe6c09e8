"""Why a replica failed: what happened, the evidence, and what to do. Pure.

Engines build causes from their exit; the reconciler builds those of missed deadlines, failed probes, refused starts and
vanished replicas.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

EVIDENCE_LINES, EVIDENCE_CHARACTERS = 5, 2000


@dataclass(frozen=True)
class Cause:
    """`code` is stable, for programs; the other fields are sentences for users. `evidence` may have several lines."""

    code: str
    message: str
    evidence: str
    action: str


def last_lines(text: str, count: int = EVIDENCE_LINES) -> str:
    """The end of a log, short enough to show as evidence; blank lines are left out."""
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-count:])[-EVIDENCE_CHARACTERS:]


def describe_exit(code: int | None) -> str:
    """An exit code in words: `exited with code 1`, `was killed by SIGKILL`; None: the exit was not observed."""
    if code is None:
        return "ended without anybody seeing how"
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def download_failed(code: int | None, log_tail: str) -> Cause:
    return Cause(
        "download_failed",
        f"The model could not be downloaded: the download {describe_exit(code)}.",
        last_lines(log_tail) or "The download said nothing.",
        "Check that the model's source can be reached from the cluster and that the disk has room, then press Retry.",
    )


def out_of_memory(evidence: str) -> Cause:
    return Cause(
        "out_of_memory",
        "The engine ran out of GPU memory: model, KV cache and working memory do not fit.",
        evidence,
        "Edit: more GPUs per replica, a shorter context or a lower max concurrency. Clone it for another GPU type.",
    )


def engine_exited(code: int | None, log_tail: str) -> Cause:
    return Cause(
        "engine_exited",
        f"The engine {describe_exit(code)}.",
        last_lines(log_tail) or "The engine said nothing.",
        "Read the end of the replica's log. If it names a setting, correct it with Edit; otherwise press Retry.",
    )


def adapter_failed(evidence: str) -> Cause:
    return Cause(
        "adapter_failed",
        "An adapter could not be loaded, so the engine did not start.",
        evidence,
        "Correct or remove the adapter that the evidence names with Edit. If only its source was away, press Retry.",
    )


def executable_missing(title: str, log_tail: str) -> Cause:
    return Cause(
        "executable_missing",
        f"{title} is not installed on the node, so no replica can start there.",
        last_lines(log_tail, 1) or "The program was not found.",
        f"Install {title} on the node, with its command on the PATH, and press Retry, or choose another engine.",
    )


def unhealthy(seconds: float, log_tail: str) -> Cause:
    return Cause(
        "unhealthy",
        f"The engine stopped answering its health probe for {seconds:g} s.",
        last_lines(log_tail) or "No answer to the health probe.",
        "Read the end of the replica's log. Edit: a shorter context or a lower max concurrency relieves it.",
    )


def gpu_not_granted(limit: str, log_tail: str) -> Cause:
    return Cause(
        "gpu_not_granted",
        f"The cluster did not give the replica its GPUs within {limit}.",
        last_lines(log_tail) or "The cluster never showed the replica with GPUs.",
        "Check the cluster's capacity and press Retry, or Clone the deployment for another GPU type.",
    )


def download_too_slow(limit: str, log_tail: str) -> Cause:
    return Cause(
        "download_too_slow",
        f"The model was not downloaded within {limit}.",
        last_lines(log_tail) or "The download made no end.",
        "Check the network between the cluster and the model's source, then press Retry. Operators set the limit: "
        "PHASE_DEADLINE_DOWNLOADING_MODEL_SECONDS and DOWNLOAD_FLOOR_MIB_PER_SECOND.",
    )


def never_healthy(limit: str, log_tail: str) -> Cause:
    return Cause(
        "never_healthy",
        f"The engine started but its health probe did not succeed within {limit}.",
        last_lines(log_tail) or "The health probe never answered 200.",
        "Read the end of the replica's log; correct the settings with Edit, or press Retry. Operators set the limit: "
        "PHASE_DEADLINE_ENGINE_INITIALIZING_SECONDS and INITIALIZE_FLOOR_MIB_PER_SECOND.",
    )


def vanished(log_tail: str) -> Cause:
    return Cause(
        "vanished",
        "The replica disappeared from the cluster without a record of how it ended.",
        last_lines(log_tail) or "The cluster has no trace of it.",
        "Check whether somebody removed it by hand or its node was lost; a replacement starts by itself.",
    )


def start_refused(message: str) -> Cause:
    return Cause(
        "start_refused",
        "The cluster refused to start the replica.",
        message,
        "Correct what the evidence names with Edit, or Clone the deployment to another endpoint; then press Retry.",
    )
