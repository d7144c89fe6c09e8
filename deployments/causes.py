"""Why a replica failed, in words for people: what happened, the evidence, what to do. Pure.

Engines make causes from the way they ended; what the console finds by itself (deadlines, health, replicas that
vanished) is said in reconciler/problems.py.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

EVIDENCE_LINES, EVIDENCE_CHARACTERS = 5, 2000


@dataclass(frozen=True)
class Cause:
    """`code` is stable and for programs; the rest is for people. `evidence` may have several lines."""

    code: str
    message: str
    evidence: str
    action: str


def last_lines(text: str, count: int = EVIDENCE_LINES) -> str:
    """The end of a log, short enough to show as evidence; lines that say nothing don't count."""
    said = [line for line in text.splitlines() if line.strip()]
    return "\n".join(said[-count:])[-EVIDENCE_CHARACTERS:]


def how_it_ended(code: int | None) -> str:
    """An exit code in words: `exited with code 1`, `was killed by SIGKILL`, or that nobody saw it."""
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
        f"The model could not be downloaded: the download {how_it_ended(code)}.",
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
        f"The engine {how_it_ended(code)}.",
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
