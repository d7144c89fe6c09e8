"""The preview of an edit: what saving it does, and what somebody else saved meanwhile."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime

from console.components.formats import format_count, format_duration
from console.deployments.configuration_diff import DiffLine, make_diff_lines
from deployments import queries
from deployments.config.configuration import Range
from deployments.config.deployment_spec import DeploymentSpec
from deployments.config.diff import Change, diff
from deployments.models import Deployment
from deployments.states import LIVE, DeploymentStatus


@dataclass(frozen=True)
class Conflict:
    """Somebody saved since the page was opened: who and when last, what differs since, and the titles of the fields
    that both changed. `diff` is None when the configuration that the page was opened with is not known."""

    actor: str
    at: datetime
    diff: tuple[DiffLine, ...] | None
    changed_by_both: list[str]


@dataclass(frozen=True)
class EditPreview:
    """The effect of making `spec` the configuration of `deployment`; `spec` is None while the form has errors.
    `live` counts its replicas. `sleep_effect`: when it falls asleep, where the change lets it."""

    deployment: Deployment
    spec: DeploymentSpec | None
    diff: tuple[DiffLine, ...]
    changes_range: bool
    next_revision: int
    live: int
    sleep_effect: str

    @property
    def at_once(self) -> list[DiffLine]:
        return [line for line in self.diff if not line.restarts]

    @property
    def restarting(self) -> list[DiffLine]:
        return [line for line in self.diff if line.restarts]

    @property
    def is_tried_again(self) -> bool:
        """A failed deployment starts again with another configuration or another range, not for a label."""
        has_failed = self.deployment.failed_at is not None and not self._has_ended
        return has_failed and bool(self.restarting or self.changes_range)

    @property
    def _has_ended(self) -> bool:
        return self.deployment.status == DeploymentStatus.TERMINATED

    @property
    def restart_effect(self) -> str:
        """What happens to the replicas."""
        if self.live:
            return f"Restarts replicas, one after another (rolling update to revision {self.next_revision})"
        if self._has_ended:
            return f"Revision {self.next_revision}, used once it is redeployed; nothing restarts"
        if self.is_tried_again:
            return f"Starts again with revision {self.next_revision}"
        return f"Revision {self.next_revision}, used by the next start; nothing runs now"

    @property
    def summary(self) -> str:
        """One line for a valid configuration: 2 changes, restarts 3 replicas."""
        if not self.diff:
            return "No changes"
        restarts = self.restarting and self.live
        effect = f"restarts {format_count(self.live, 'replica')}" if restarts else "nothing restarts"
        return f"{format_count(len(self.diff), 'change')}, {effect}"

    @property
    def seal(self) -> str:
        """Identifies this version and this configuration: only what was shown is saved. Empty without `spec`."""
        if self.spec is None:
            return ""
        shown = json.dumps([self.deployment.version, self.spec.to_json()], sort_keys=True)
        return hashlib.sha256(shown.encode()).hexdigest()[:24]


def read_preview(deployment: Deployment, spec: DeploymentSpec | None, now: datetime) -> EditPreview:
    """At most four queries."""
    changes: tuple[Change, ...] = ()
    if spec is not None:
        changes = diff(queries.spec_of(deployment).to_json(), spec.to_json())
    changes_range = any(change.field.startswith("autoscaling.") for change in changes)
    return EditPreview(
        deployment=deployment,
        spec=spec,
        diff=make_diff_lines(vars(change) for change in changes),
        changes_range=changes_range,
        next_revision=queries.revisions(deployment)[0].number + 1,
        live=deployment.replicas.filter(state__in=LIVE).count(),
        sleep_effect=_explain_sleep(deployment, spec, now) if spec is not None and changes_range else "",
    )


def _explain_sleep(deployment: Deployment, spec: DeploymentSpec, now: datetime) -> str:
    """When the deployment falls asleep with the autoscaling of `spec`; empty where it never does or does not run."""
    autoscaling = spec.configuration.autoscaling
    if not isinstance(autoscaling, Range) or autoscaling.min_replicas > 0 or deployment.asleep_since:
        return ""
    after = autoscaling.sleep_after_seconds
    after = autoscaling.scale_down_delay_seconds if after is None else after
    since = queries.idle_since(deployment)
    if since is None:
        return f"It falls asleep after {format_duration(after)} without a request."
    idle = (now - since).total_seconds()
    if idle >= after:
        return f"It falls asleep immediately: it has had no requests for {format_duration(idle)}."
    return f"It falls asleep in {format_duration(after - idle)} if no request arrives."
