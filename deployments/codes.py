"""The codes under which decisions are stored, and the value that carries a code with its facts. Pure.

A code names what happened or why; its facts are what the decision was based on. Both are stored in events, causes and
status, and `deployments/messages.py` words them when they are read. A code is never reused for another meaning, and its
facts are only ever extended. Names among the facts are snapshots. Facts are plain JSON and contain no secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What an event of the timeline reports."""

    CREATED = "created"
    PENDING = "pending"
    REPLICA_REQUESTED = "replica_requested"
    REPLICA_DOWNLOADING = "replica_downloading"
    REPLICA_INITIALIZING = "replica_initializing"
    REPLICA_READY = "replica_ready"
    REPLICA_UNHEALTHY = "replica_unhealthy"
    REPLICA_HEALTHY = "replica_healthy"
    REPLICA_DRAINING = "replica_draining"
    REPLICA_STOPPED = "replica_stopped"
    REPLICA_FAILED = "replica_failed"
    REPLICA_REPLACED = "replica_replaced"
    REPLICA_RESUMED = "replica_resumed"
    REPLICA_UNKNOWN = "replica_unknown"
    REPLICA_FOUND = "replica_found"
    REPLICA_DECLARED_GONE = "replica_declared_gone"
    SCALED = "scaled"
    FELL_ASLEEP = "fell_asleep"
    WOKEN = "woken"
    ROLLOUT_STARTED = "rollout_started"
    ROLLOUT_DONE = "rollout_done"
    ROLLOUT_HELD = "rollout_held"
    ROLLED_BACK_BY_ITSELF = "rolled_back_by_itself"
    FAILED = "failed"
    TERMINATE_REQUESTED = "terminate_requested"
    TERMINATED = "terminated"
    DELETED = "deleted"
    EDITED = "edited"
    ROLLED_BACK = "rolled_back"
    RETRIED = "retried"
    REDEPLOYED = "redeployed"


class CauseCode(StrEnum):
    """Why a replica failed."""

    DOWNLOAD_FAILED = "download_failed"
    OUT_OF_MEMORY = "out_of_memory"
    ENGINE_EXITED = "engine_exited"
    ADAPTER_FAILED = "adapter_failed"
    EXECUTABLE_MISSING = "executable_missing"
    UNHEALTHY = "unhealthy"
    GPU_NOT_GRANTED = "gpu_not_granted"
    DOWNLOAD_TOO_SLOW = "download_too_slow"
    NEVER_HEALTHY = "never_healthy"
    VANISHED = "vanished"
    START_REFUSED = "start_refused"


class ReasonCode(StrEnum):
    """Why a deployment waits, scales, wakes, or holds a rolling update."""

    GPU_QUEUE = "gpu_queue"
    GPU_POOL_TOO_SMALL = "gpu_pool_too_small"
    BACK_OFF = "back_off"
    CLUSTER_UNREACHABLE = "cluster_unreachable"
    LOAD_ROSE = "load_rose"
    BACKLOG = "backlog"
    LOAD_FELL = "load_fell"
    RANGE_FIXED = "range_fixed"
    RANGE_MINIMUM = "range_minimum"
    RANGE_MAXIMUM = "range_maximum"
    REQUEST_ARRIVED = "request_arrived"
    MINIMUM_RAISED = "minimum_raised"
    UPDATE_BEHIND_OTHERS = "update_behind_others"
    UPDATE_POOL_TOO_SMALL = "update_pool_too_small"


class ClusterProblem(StrEnum):
    """Why a cluster cannot be used."""

    DATA_FOLDER_MISSING = "data_folder_missing"
    DATA_FOLDER_UNREADABLE = "data_folder_unreadable"
    DATA_FOLDER_UNMARKED = "data_folder_unmarked"
    DATA_FOLDER_FOREIGN = "data_folder_foreign"
    NO_ANSWER = "no_answer"
    DRIVER_BROKEN = "driver_broken"


class Notice(StrEnum):
    """What the banner of a deployment's page says: computed from the present state, and never stored."""

    LOOKING_FOR_GPUS = "looking_for_gpus"
    STARTING = "starting"
    LIVE = "live"
    FALLING_ASLEEP = "falling_asleep"
    SCALING = "scaling"
    ADDING_REPLICAS = "adding_replicas"
    STOPPING_SURPLUS = "stopping_surplus"
    ROLLING = "rolling"
    ASLEEP = "asleep"
    ABOUT_TO_WAKE = "about_to_wake"
    WAKING = "waking"
    STARTING_AGAIN = "starting_again"
    FAILED_WITHOUT_CAUSE = "failed_without_cause"
    TERMINATING = "terminating"
    TERMINATED = "terminated"
    BROKEN = "broken"
    UNKNOWN_REPLICA = "unknown_replica"
    UNKNOWN_REPLICAS = "unknown_replicas"


class StopReason(StrEnum):
    """Why a replica was stopped, or ended without being stopped."""

    DRAINED = "drained"
    DRAIN_LIMIT = "drain_limit"
    SURPLUS = "surplus"
    ASLEEP = "asleep"
    SUPERSEDED = "superseded"
    TERMINATED = "terminated"
    DEPLOYMENT_FAILED = "deployment_failed"
    FAILED = "failed"
    ENDED = "ended"
    ENDED_UNOBSERVED = "ended_unwatched"
    MACHINE_RESTARTED = "machine_restarted"
    CONSOLE_OFF = "console_off"


@dataclass(frozen=True, init=False)
class Reason:
    """A code and its facts: `Reason(ReasonCode.GPU_QUEUE, gpu="H100", gpu_count=4, free=2, total=8)`."""

    code: str
    facts: Mapping[str, Any]

    def __init__(self, code: str, /, **facts: Any) -> None:
        object.__setattr__(self, "code", str(code))
        object.__setattr__(self, "facts", facts)

    def to_json(self) -> dict[str, Any]:
        return {"code": self.code, "facts": dict(self.facts)}

    @staticmethod
    def from_json(stored: Mapping[str, Any] | None) -> Reason | None:
        return Reason(stored["code"], **stored["facts"]) if stored else None
