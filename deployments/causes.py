"""Why a replica failed: a code, its facts, and the evidence. Pure.

Engines build causes from their exit; the reconciler builds those of missed deadlines, failed probes, refused starts and
vanished replicas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deployments.codes import CauseCode

EVIDENCE_LINES, EVIDENCE_CHARACTERS = 5, 2000


@dataclass(frozen=True)
class Cause:
    """`evidence`: what the program or the cluster wrote, in one or more lines; empty when there is none."""

    code: CauseCode
    evidence: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"code": self.code.value, "facts": dict(self.facts), "evidence": self.evidence}


@dataclass(frozen=True)
class Limit:
    """The deadline of a phase: `seconds` in all, of them `base_seconds` for any model and the rest for `weight_bytes`
    at `mib_per_second`, which is 0 for a phase that moves no weights."""

    seconds: float
    base_seconds: float
    weight_bytes: int = 0
    mib_per_second: float = 0.0

    def to_facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"limit_seconds": self.seconds}
        if self.seconds != self.base_seconds:
            facts |= {"base_seconds": self.base_seconds, "weight_seconds": self.seconds - self.base_seconds}
            facts |= {"weight_bytes": self.weight_bytes, "mib_per_second": self.mib_per_second}
        return facts


def last_lines(text: str, count: int = EVIDENCE_LINES) -> str:
    """The end of a log, short enough to show as evidence; blank lines are left out."""
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-count:])[-EVIDENCE_CHARACTERS:]


def download_failed(code: int | None, log_tail: str) -> Cause:
    """`code`: of the exit, negative for a signal; None: the exit was not observed."""
    return Cause(CauseCode.DOWNLOAD_FAILED, last_lines(log_tail), {"exit_code": code})


def out_of_memory(evidence: str) -> Cause:
    return Cause(CauseCode.OUT_OF_MEMORY, evidence)


def engine_exited(code: int | None, log_tail: str) -> Cause:
    """`code`: of the exit, negative for a signal; None: the exit was not observed."""
    return Cause(CauseCode.ENGINE_EXITED, last_lines(log_tail), {"exit_code": code})


def adapter_failed(evidence: str) -> Cause:
    return Cause(CauseCode.ADAPTER_FAILED, evidence)


def executable_missing(title: str, log_tail: str) -> Cause:
    return Cause(CauseCode.EXECUTABLE_MISSING, last_lines(log_tail, 1), {"program": title})


def unhealthy(seconds: float, log_tail: str) -> Cause:
    return Cause(CauseCode.UNHEALTHY, last_lines(log_tail), {"limit_seconds": seconds})


def gpu_not_granted(limit: Limit, log_tail: str) -> Cause:
    return Cause(CauseCode.GPU_NOT_GRANTED, last_lines(log_tail), limit.to_facts())


def download_too_slow(limit: Limit, log_tail: str) -> Cause:
    return Cause(CauseCode.DOWNLOAD_TOO_SLOW, last_lines(log_tail), limit.to_facts())


def never_healthy(limit: Limit, log_tail: str) -> Cause:
    return Cause(CauseCode.NEVER_HEALTHY, last_lines(log_tail), limit.to_facts())


def vanished(log_tail: str) -> Cause:
    return Cause(CauseCode.VANISHED, last_lines(log_tail))


def start_refused(message: str) -> Cause:
    return Cause(CauseCode.START_REFUSED, message)
