"""Replicas as lines of a table: state, place and progress in words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from console.components.formats import format_gib, format_moment, join_words
from console.pages.waterfall import TITLES
from deployments.events import short
from deployments.models import Replica
from deployments.states import ENDED, STARTING_ORDER, ReplicaState

R = ReplicaState
LOOKS: dict[str, tuple[str, str, str]] = {
    **{state: (TITLES[state], "moving", "status-deploying") for state in STARTING_ORDER},
    R.READY: ("Ready", "good", "status-running"),
    R.DRAINING: ("Draining", "gone", "status-terminating"),
    R.STOPPING: ("Stopping", "gone", "status-terminating"),
    R.STOPPED: ("Stopped", "gone", "status-terminated"),
    R.FAILED: ("Failed", "bad", "status-failed"),
}


@dataclass(frozen=True)
class ReplicaRow:
    """One line of the replicas table."""

    replica: Replica
    requests: int | None
    now: datetime

    @property
    def short(self) -> str:
        return short(self.replica)

    @property
    def title(self) -> str:
        return LOOKS[self.replica.state][0]

    @property
    def tone(self) -> str:
        return LOOKS[self.replica.state][1]

    @property
    def icon(self) -> str:
        return LOOKS[self.replica.state][2]

    @property
    def where(self) -> str:
        indices = join_words([str(index) for index in self.replica.gpu_indices])
        parts = [self.replica.node, f"GPU {indices}" if indices else ""]
        return ", ".join(part for part in parts if part)

    @property
    def progress(self) -> str:
        """How far the download is, in GiB; empty in every other state."""
        replica = self.replica
        if replica.state != R.DOWNLOADING_MODEL or not replica.bytes_total:
            return ""
        return f"{format_gib(replica.bytes_done or 0)} of {format_gib(replica.bytes_total)} GiB"

    @property
    def since(self) -> str:
        return format_moment(self.replica.state_since, self.now)

    @property
    def cause(self) -> str:
        return str((self.replica.cause or {}).get("message", ""))

    @property
    def room(self) -> int:
        return int(self.replica.revision.spec["engine"]["max_concurrency"])

    @property
    def is_ended(self) -> bool:
        return self.replica.state in ENDED

    @property
    def since_in_words(self) -> str:
        return f"since {self.since}"

    @property
    def why(self) -> str:
        """Why it stopped, when nothing failed."""
        return self.replica.stop_reason.replace("_", " ").capitalize()

    @property
    def health(self) -> str:
        if self.replica.state != R.READY:
            return ""
        return "Answers" if self.replica.serving else "Fails its probe"

    @property
    def health_tone(self) -> str:
        return "good" if self.replica.serving else "bad"
