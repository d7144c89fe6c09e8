"""A deployment as one line of the list, in words. Reads nothing: everything comes from the deployment, its prefetched
live replicas (`live_replicas`) and what the caller has read for the whole page."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from console.components.formats import (
    format_count,
    format_duration,
    format_elapsed,
    format_short_moment,
    shorten_gpu_title,
)
from console.pages.actions import Actions, actions
from deployments.models import Deployment, Replica
from deployments.states import STARTING, STARTING_ORDER, DeploymentStatus, ReplicaState

S, R = DeploymentStatus, ReplicaState
MOST_CELLS = 12
PHASES = {
    R.REQUESTING_GPU: "Requesting GPU",
    R.DOWNLOADING_MODEL: "Downloading",
    R.ENGINE_INITIALIZING: "Initializing",
}


class Used(Protocol):
    """What billing counts: requests and tokens of a period."""

    @property
    def requests(self) -> int: ...

    @property
    def input_tokens(self) -> int: ...

    @property
    def output_tokens(self) -> int: ...


@dataclass(frozen=True)
class DeploymentRow:
    """One line. `line` says why, how far or since when; `cells` has the class of each replica cell ("" = free) and is
    empty above MOST_CELLS; `requests` and tokens are of the last 60 minutes."""

    id: uuid.UUID
    name: str
    model: str
    organization: str
    status: str
    line: str
    ready: int
    wanted: int
    cells: tuple[str, ...]
    allowed: str
    gpu_count: int
    gpu: str
    gpu_memory_gb: int
    simulated: bool
    requests: int
    input_tokens: int
    output_tokens: int
    created_at: datetime
    may_deploy: bool

    @property
    def has_ended(self) -> bool:
        return self.status == S.TERMINATED

    @property
    def is_bad(self) -> bool:
        return self.status == S.FAILED

    @property
    def actions(self) -> Actions:
        return actions(self.status, may_deploy=self.may_deploy)

    @property
    def acts(self) -> str:
        """Names what the menu offers, so that a menu that is open stays while nothing in it changes."""
        return "".join(sorted(one[0] for one in self.actions.all)) + "o"


def row(
    deployment: Deployment, *, titles: dict[str, str], used: Used | None, now: datetime, may_deploy: bool
) -> DeploymentRow:
    """`titles` maps catalog ids to titles; `used` None is no request at all."""
    spec: dict[str, Any] = deployment.revision.spec if deployment.revision else {"model": {"id": ""}, "gpu_count": 0}
    live: list[Replica] = getattr(deployment, "live_replicas", [])
    wanted = 0 if deployment.terminate_requested_at else deployment.desired_replicas
    return DeploymentRow(
        id=deployment.pk,
        name=deployment.name,
        model=titles.get(spec["model"]["id"], spec["model"]["id"]),
        organization=deployment.organization.name,
        status=deployment.status,
        line=line(deployment, live, now),
        ready=sum(replica.state == R.READY for replica in live),
        wanted=wanted,
        cells=cells(live, wanted, deployment.max_replicas, failed=deployment.failed_at is not None),
        allowed=replica_range(deployment) or "fixed",
        gpu_count=spec["gpu_count"],
        gpu=shorten_gpu_title(deployment.gpu_type.title, deployment.gpu_type.memory_gb),
        gpu_memory_gb=deployment.gpu_type.memory_gb,
        simulated=deployment.endpoint.cluster.simulated,
        requests=used.requests if used else 0,
        input_tokens=used.input_tokens if used else 0,
        output_tokens=used.output_tokens if used else 0,
        created_at=deployment.created_at,
        may_deploy=may_deploy,
    )


def replica_range(deployment: Deployment) -> str:
    """1–3, empty for a fixed number."""
    low, high = deployment.min_replicas, deployment.max_replicas
    return "" if low == high else f"{low}–{high}"


def cells(live: list[Replica], wanted: int, most: int, *, failed: bool) -> tuple[str, ...]:
    """One class for each replica that lives or is wanted, ready first, then starting, then on their way out; empty
    ones up to `most`, which is what the range allows."""
    kinds = Counter(_cell(replica.state) for replica in live)
    shown = [kind for kind in ("ready", "starting", "draining") for _ in range(kinds[kind])]
    shown += ["failed" if failed else ""] * (wanted - len(shown))
    shown += [""] * (most - len(shown))
    return tuple(shown) if len(shown) <= MOST_CELLS else ()


def _cell(state: str) -> str:
    return "ready" if state == R.READY else "starting" if state in STARTING else "draining"


def line(deployment: Deployment, live: list[Replica], now: datetime) -> str:
    """The second line under the status."""
    match deployment.status:
        case S.PENDING:
            return deployment.pending_reason or "waits for its turn"
        case S.DEPLOYING:
            return _progress(live, now)
        case S.SCALING:
            ready = sum(replica.state == R.READY for replica in live)
            return f"{ready} → {deployment.desired_replicas}, {_progress(live, now)}"
        case S.ROLLING:
            return _rolling(deployment, live)
        case S.SLEEPING:
            idle = now - (deployment.asleep_since or deployment.status_since)
            return f"idle {format_duration(idle.total_seconds())}, a request wakes it"
        case S.FAILED:
            return _first_sentence(str((deployment.cause or {}).get("message", "")))
        case S.TERMINATING:
            return f"{format_count(len(live), 'replica')} to stop" if live else "nothing left to stop"
        case S.TERMINATED:
            by = f", by {deployment.terminated_by}" if deployment.terminated_by else ""
            return f"{format_short_moment(deployment.terminated_at or deployment.status_since, now)}{by}"
        case _:
            return f"since {format_short_moment(deployment.status_since, now)}"


def _rolling(deployment: Deployment, live: list[Replica]) -> str:
    """revision 7 → 8, 1 of 2 replaced. What has the same configuration counts as replaced."""
    assert deployment.revision, "every deployment has its first revision from the start"
    wanted = deployment.revision
    old = [one.revision.number for one in live if one.revision.spec_hash != wanted.spec_hash]
    new = sum(one.revision.spec_hash == wanted.spec_hash and one.state == R.READY for one in live)
    begin = f"revision {max(old)} → {wanted.number}" if old else f"revision {wanted.number}"
    if deployment.rollout_hold:
        return f"{begin}, held: {deployment.rollout_hold}"
    return f"{begin}, {min(new, deployment.desired_replicas)} of {deployment.desired_replicas} replaced"


def _progress(live: list[Replica], now: datetime) -> str:
    """2/3 Downloading, 42 %, 0:42: the replica furthest on."""
    starting = [replica for replica in live if replica.state in STARTING]
    if not starting:
        return "waits for GPUs"
    first = max(starting, key=lambda replica: STARTING_ORDER.index(R(replica.state)))
    step = STARTING_ORDER.index(R(first.state)) + 1
    done = f", {100 * first.bytes_done // first.bytes_total} %" if first.bytes_done and first.bytes_total else ""
    shown = done if first.state == R.DOWNLOADING_MODEL else ""
    return f"{step}/3 {PHASES[R(first.state)]}{shown}, {format_elapsed((now - first.created_at).total_seconds())}"


def _first_sentence(text: str) -> str:
    return text.split(". ")[0].rstrip(".") or "no cause known"
