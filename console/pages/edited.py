"""What saving an edit would do, told before it is saved, and what somebody else did meanwhile."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from console.components.formats import format_count
from console.pages import changes
from console.pages.changes import ChangeLine
from deployments import bodies, diffs, queries
from deployments.models import Deployment
from deployments.specs import DeploymentSpec
from deployments.states import LIVE, DeploymentStatus

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Conflict:
    """Somebody saved since the page was opened: `by` whom and when the last time, what differs since, and the titles
    of the fields that both changed. `changes` None: what the page was opened with is not known any more."""

    by: str
    at: datetime
    changes: tuple[ChangeLine, ...] | None
    both: list[str]


class Preview:
    """What making `spec` the configuration of `deployment` changes; `spec` None while something typed is wrong."""

    def __init__(self, deployment: Deployment, spec: DeploymentSpec | None) -> None:
        self.deployment, self.spec = deployment, spec

    @cached_property
    def changes(self) -> tuple[ChangeLine, ...]:
        if self.spec is None:
            return ()
        return between(bodies.body_of(queries.spec_of(self.deployment)), bodies.body_of(self.spec))

    @property
    def at_once(self) -> list[ChangeLine]:
        return [one for one in self.changes if not one.restarts]

    @property
    def restarting(self) -> list[ChangeLine]:
        return [one for one in self.changes if one.restarts]

    @cached_property
    def next_revision(self) -> int:
        return queries.revisions(self.deployment)[0].number + 1

    @cached_property
    def live(self) -> int:
        return self.deployment.replicas.filter(state__in=LIVE).count()

    @property
    def has_ended(self) -> bool:
        return self.deployment.status == DeploymentStatus.TERMINATED

    @property
    def is_tried_again(self) -> bool:
        """A failed deployment starts again with another configuration or another range, not for a label."""
        about_replicas = any(one.field.startswith("autoscaling.") for one in self._found)
        return self.deployment.failed_at is not None and not self.has_ended and bool(self.restarting or about_replicas)

    @property
    def restart(self) -> str:
        """What becomes of the replicas, in words."""
        number = self.next_revision
        if self.live:
            return f"Restarts replicas, one after another (rolling update to revision {number})"
        if self.has_ended:
            return f"Revision {number}, used once it is redeployed; nothing restarts"
        if self.is_tried_again:
            return f"Starts anew with revision {number}"
        return f"Revision {number}, used by the next start; nothing runs now"

    @property
    def summary(self) -> str:
        """One line: 2 changes, restarts 3 replicas."""
        if self.spec is None:
            return "Something needs a look"
        if not self.changes:
            return "Nothing changed"
        effect = (
            f"restarts {format_count(self.live, 'replica')}" if self.restarting and self.live else "nothing restarts"
        )
        return f"{format_count(len(self.changes), 'change')}, {effect}"

    @property
    def seal(self) -> str:
        """Stands for exactly this version and this configuration: what is saved is what was shown."""
        if self.spec is None:
            return ""
        shown = json.dumps([self.deployment.version, bodies.body_of(self.spec)], sort_keys=True)
        return hashlib.sha256(shown.encode()).hexdigest()[:24]

    @property
    def _found(self) -> tuple[diffs.Change, ...]:
        if self.spec is None:
            return ()
        return diffs.changes(bodies.body_of(queries.spec_of(self.deployment)), bodies.body_of(self.spec))


def between(before: Body, after: Body) -> tuple[ChangeLine, ...]:
    """What differs from one canonical body to another."""
    return changes.lines(vars(one) for one in diffs.changes(before, after))
