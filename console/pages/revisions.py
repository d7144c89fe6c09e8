"""The revisions of a deployment as lines of a table: what each changed, how it went, and the way back to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from console.components.formats import format_moment
from console.pages import changes
from console.pages.overview import Overview
from deployments import bodies, diffs, queries
from deployments.models import Deployment, Revision
from deployments.specs import RevisionSpec

MOST_REVISIONS = 50


@dataclass(frozen=True)
class RevisionRow:
    """`changes` against the revision before; `is_same` when it has the configuration that is in force."""

    revision: Revision
    changes: tuple[changes.ChangeLine, ...]
    is_current: bool
    is_same: bool
    now: datetime

    @property
    def when(self) -> str:
        return format_moment(self.revision.created_at, self.now)

    @property
    def by(self) -> str:
        return str(self.revision.created_by or "the console")

    @property
    def cause(self) -> Mapping[str, str]:
        return self.revision.cause or {}

    @property
    def state(self) -> str:
        """current, failed, ready once, or never ready."""
        if self.revision.cause:
            return "failed"
        if self.is_current:
            return "current"
        return "ready" if self.revision.ready_at else "never"

    @property
    def words(self) -> str:
        at = format_moment(self.revision.ready_at, self.now) if self.revision.ready_at else ""
        match self.state:
            case "failed":
                return "Could not start"
            case "current":
                return f"Current, first ready {at}" if at else "Current, not ready yet"
            case "ready":
                return f"First ready {at}"
        return "Never ready"


def revision_rows(deployment: Deployment, now: datetime) -> list[RevisionRow]:
    """The latest MOST_REVISIONS, newest first. One query."""
    found = list(queries.revisions(deployment)[: MOST_REVISIONS + 1])
    current = next((one for one in found if one.pk == deployment.revision_id), None)
    pairs = [*pairwise(found), *([(found[-1], None)] if 0 < len(found) <= MOST_REVISIONS else [])]
    return [
        RevisionRow(
            one,
            between(before, one, deployment.gpu_type_id) if before else (),
            one.pk == deployment.revision_id,
            bool(current) and one.spec_hash == current.spec_hash,  # type: ignore[union-attr]
            now,
        )
        for one, before in pairs
    ]


def between(before: Revision, after: Revision, gpu_type: str) -> tuple[changes.ChangeLine, ...]:
    """What differs from one revision to another."""
    old, new = (bodies.configuration_of(RevisionSpec.from_json(one.spec), gpu_type) for one in (before, after))
    return changes.lines(vars(one) for one in diffs.changes(old, new))


def rollback_effects(overview: Overview) -> str:
    """What a rollback does to what runs now."""
    if not overview.live:
        return "Nothing runs now, so nothing restarts: the next start uses it."
    count = len(overview.live)
    one, many = "The replica that runs is replaced", f"The {count} replicas that run are replaced one at a time"
    which = one if count == 1 else many
    return (
        f"It makes a new revision. {which}: where a GPU is free, the new one is ready before an "
        "old one drains; else requests are held until it is."
    )
