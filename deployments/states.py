"""The state machine of replicas and the statuses of deployments. Pure.

REQUESTING_GPU → DOWNLOADING_MODEL → ENGINE_INITIALIZING → READY → DRAINING → STOPPING → STOPPED | FAILED.
STOPPING can be entered from any live state and is left only when the end of the replica is confirmed, to FAILED if
there is a cause, else to STOPPED. So a replica that may still hold a GPU is never FAILED.
UNKNOWN: the cluster was asked and has no record of a replica that it showed before. It may run on and keeps its GPUs.
It is left for what the cluster shows once it has a record again, or for STOPPING when an operator declares it gone.
"""

from __future__ import annotations

from enum import StrEnum


class ReplicaState(StrEnum):
    REQUESTING_GPU = "REQUESTING_GPU"
    DOWNLOADING_MODEL = "DOWNLOADING_MODEL"
    ENGINE_INITIALIZING = "ENGINE_INITIALIZING"
    READY = "READY"
    DRAINING = "DRAINING"
    STOPPING = "STOPPING"
    UNKNOWN = "UNKNOWN"
    STOPPED = "STOPPED"
    FAILED = "FAILED"


class DeploymentStatus(StrEnum):
    PENDING = "PENDING"
    DEPLOYING = "DEPLOYING"
    RUNNING = "RUNNING"
    SCALING = "SCALING"
    ROLLING = "ROLLING"
    SLEEPING = "SLEEPING"
    FAILED = "FAILED"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"


R = ReplicaState
STARTING_ORDER = (R.REQUESTING_GPU, R.DOWNLOADING_MODEL, R.ENGINE_INITIALIZING)
STARTING = frozenset(STARTING_ORDER)
ENDED = frozenset({R.STOPPED, R.FAILED})
LIVE = frozenset(R) - ENDED
HOLDS_GPU = LIVE
# Nothing of them runs until somebody asks for it: what can be redeployed, and what can be deleted.
AT_REST = frozenset({DeploymentStatus.FAILED, DeploymentStatus.TERMINATED})

NEXT: dict[ReplicaState, frozenset[ReplicaState]] = {
    R.REQUESTING_GPU: frozenset({R.DOWNLOADING_MODEL, R.ENGINE_INITIALIZING, R.READY, R.STOPPING, R.UNKNOWN}),
    R.DOWNLOADING_MODEL: frozenset({R.ENGINE_INITIALIZING, R.READY, R.STOPPING, R.UNKNOWN}),
    R.ENGINE_INITIALIZING: frozenset({R.READY, R.STOPPING, R.UNKNOWN}),
    R.READY: frozenset({R.DRAINING, R.STOPPING, R.UNKNOWN}),
    R.DRAINING: frozenset({R.READY, R.STOPPING, R.UNKNOWN}),
    R.STOPPING: frozenset({R.STOPPED, R.FAILED, R.UNKNOWN}),
    R.UNKNOWN: STARTING | {R.READY, R.STOPPING},
    R.STOPPED: frozenset(),
    R.FAILED: frozenset(),
}


def may_become(old: ReplicaState, new: ReplicaState) -> bool:
    """Whether the transition `old` → `new` exists."""
    return new in NEXT[old]
