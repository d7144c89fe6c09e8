"""Replicas as rows of a table, and as the cells that draw a deployment's replicas in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from console.components.formats import format_gb, format_moment, format_ranges
from console.components.phase_titles import PHASE_TITLES
from deployments.events import short
from deployments.messages import describe_reason, describe_stop
from deployments.models import Deployment, Replica
from deployments.states import ENDED, STARTING, STARTING_ORDER, ReplicaState

R = ReplicaState
MAX_CELLS = 12
# Title, tone and icon by state.
APPEARANCE: dict[str, tuple[str, str, str]] = {
    **{state: (PHASE_TITLES[state], "moving", "status-deploying") for state in STARTING_ORDER},
    R.READY: ("Ready", "good", "status-running"),
    R.DRAINING: ("Draining", "gone", "status-terminating"),
    R.STOPPING: ("Stopping", "gone", "status-terminating"),
    R.UNKNOWN: ("Unknown", "bad", "warning"),
    R.STOPPED: ("Stopped", "gone", "status-terminated"),
    R.FAILED: ("Failed", "bad", "status-failed"),
}


@dataclass(frozen=True)
class ReplicaRow:
    """One replica; `requests` are those in flight, None when unknown."""

    replica: Replica
    requests: int | None
    now: datetime

    @property
    def short(self) -> str:
        return short(self.replica)

    @property
    def title(self) -> str:
        return APPEARANCE[self.replica.state][0]

    @property
    def tone(self) -> str:
        return APPEARANCE[self.replica.state][1]

    @property
    def icon(self) -> str:
        return APPEARANCE[self.replica.state][2]

    @property
    def location(self) -> str:
        """Node and GPU indices; empty before it is placed."""
        indices = format_ranges(self.replica.gpu_indices)
        parts = [self.replica.node, f"GPU {indices}" if indices else ""]
        return ", ".join(part for part in parts if part)

    @property
    def progress(self) -> str:
        """How far the download is, in GB; empty in every other state."""
        replica = self.replica
        if replica.state != R.DOWNLOADING_MODEL or not replica.bytes_total:
            return ""
        return f"{format_gb(replica.bytes_done or 0)} of {format_gb(replica.bytes_total)} GB"

    @property
    def since(self) -> str:
        return format_moment(self.replica.state_since, self.now)

    @property
    def cause(self) -> str:
        return describe_reason(self.replica.cause).sentence if self.replica.cause else ""

    @property
    def stop_reason(self) -> str:
        return describe_stop(self.replica.stop_reason)

    @property
    def max_concurrency(self) -> int:
        """0 if the configuration of its revision cannot be read."""
        return int(self.replica.revision.spec.get("engine", {}).get("max_concurrency", 0))

    @property
    def is_unknown(self) -> bool:
        return self.replica.state == R.UNKNOWN

    @property
    def is_declared_gone(self) -> bool:
        return self.replica.gone_declared_at is not None

    @property
    def has_ended(self) -> bool:
        return self.replica.state in ENDED

    @property
    def health(self) -> str:
        if self.replica.state != R.READY:
            return ""
        return "Healthy" if self.replica.serving else "Unhealthy"

    @property
    def health_tone(self) -> str:
        return "good" if self.replica.serving else "bad"


def format_replica_range(deployment: Deployment) -> str:
    """1–3; empty for a fixed number."""
    low, high = deployment.min_replicas, deployment.max_replicas
    return "" if low == high else f"{low}–{high}"


def make_cells(deployment: Deployment, live: Iterable[Replica], wanted: int) -> tuple[str, ...]:
    """A CSS class for each replica that lives or is wanted: ready first, then starting, then draining, then unknown
    ("failed"), then those that are missing ("failed" or ""), up to the maximum of the range. Empty above MAX_CELLS."""
    counts = Counter(
        "ready"
        if replica.state == R.READY
        else "starting"
        if replica.state in STARTING
        else "failed"
        if replica.state == R.UNKNOWN
        else "draining"
        for replica in live
    )
    cells = [kind for kind in ("ready", "starting", "draining", "failed") for _ in range(counts[kind])]
    cells += ["" if deployment.failed_at is None else "failed"] * (wanted - len(cells))
    cells += [""] * (deployment.max_replicas - len(cells))
    return tuple(cells) if len(cells) <= MAX_CELLS else ()
