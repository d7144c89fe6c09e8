"""How long a replica may stay in a starting phase, or unhealthy, and the cause when it exceeds that. Pure.

The deadline of a phase that moves weights grows with the size of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from deployments import causes
from deployments.causes import Cause, Limit
from deployments.reconciler.snapshot import Policy
from deployments.states import ReplicaState

MIB = 2**20
UNHEALTHY = "unhealthy"
EXPLANATIONS = {
    ReplicaState.REQUESTING_GPU: causes.gpu_not_granted,
    ReplicaState.DOWNLOADING_MODEL: causes.download_too_slow,
    ReplicaState.ENGINE_INITIALIZING: causes.never_healthy,
}


def deadline_seconds(
    phase: str, base_seconds: float, weight_bytes: int, floor_mib_per_second: Mapping[str, float]
) -> float:
    """The base, plus what `weight_bytes` take at the slowest rate that counts as progress in this phase.

    A phase without a rate, or with rate 0, moves no weights: its deadline is the base.
    """
    rate = floor_mib_per_second.get(phase, 0.0)
    return base_seconds + (weight_bytes / (rate * MIB) if rate else 0.0)


def find_missed(policy: Policy, state: ReplicaState, since: datetime, weight_bytes: int, now: datetime) -> str:
    """The key for `explain` when a replica has been in a starting state for too long; else empty."""
    if state.value not in policy.phase_deadline_seconds:
        return ""
    limit = find_limit(state, policy, weight_bytes)
    return f"deadline:{state.value}" if (now - since).total_seconds() > limit.seconds else ""


def explain(problem: str, policy: Policy, log_tail: str, weight_bytes: int = 0) -> Cause:
    """The cause for UNHEALTHY or for a key from `find_missed`. `weight_bytes`: the size of the model's weights."""
    if problem == UNHEALTHY:
        return causes.unhealthy(policy.unhealthy_deadline_seconds, log_tail)
    state = ReplicaState(problem.removeprefix("deadline:"))
    return EXPLANATIONS[state](find_limit(state, policy, weight_bytes), log_tail)


def find_limit(state: ReplicaState, policy: Policy, weight_bytes: int) -> Limit:
    """The deadline in force."""
    base, floors = policy.phase_deadline_seconds[state.value], policy.floor_mib_per_second
    seconds = deadline_seconds(state.value, base, weight_bytes, floors)
    return Limit(seconds, base, weight_bytes, floors.get(state.value, 0.0))
