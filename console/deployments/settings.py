"""The settings of a deployment: its revisions, the change log, every value in force."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from console import access
from console.access import Actor
from console.components.formats import format_moment
from console.components.page_request import PageRequest
from console.deployments.configuration_diff import DiffLine, diff_revisions
from console.deployments.configuration_lines import read_configuration
from console.deployments.page_context import page_context, read_state
from console.deployments.timeline import CHANGE_LOG, EventFilterForm, EventFilters, read_event_page
from deployments import queries
from deployments.config.deployment_spec import UnreadableSpec
from deployments.messages import Text, describe_reason
from deployments.models import Deployment, Revision
from deployments.states import DeploymentStatus

FRAGMENTS = ("header", "revisions", "change_log", "configuration")
MAX_REVISIONS = 50


@require_safe
@login_required
def show_settings(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    """`?before=` shows an older page of the change log."""
    deployment = access.deployment(request.actor, str(deployment_id))
    now = timezone.now()  # noqa: TID251 - the edge: a page as of now
    filters = EventFilters(**EventFilterForm(request.GET).filters)
    return render(request, "deployments/settings.html", read_context(request.actor, deployment, now, filters))


def read_context(actor: Actor, deployment: Deployment, now: datetime, filters: EventFilters) -> dict[str, Any]:
    state = read_state(deployment, now)
    return {
        **page_context(actor, state),
        "revisions": read_revisions(deployment, now),
        "change_log": read_event_page(deployment, filters, CHANGE_LOG, now),
        "configuration": read_configuration(state.header),
        "may_roll_back": deployment.status != DeploymentStatus.TERMINATING,
    }


@dataclass(frozen=True)
class RevisionRow:
    """`diff` is against the revision before, empty if one of the two cannot be read; `is_same`: it has the
    configuration in force."""

    revision: Revision
    diff: tuple[DiffLine, ...]
    is_current: bool
    is_same: bool
    now: datetime

    @property
    def when(self) -> str:
        return format_moment(self.revision.created_at, self.now)

    @property
    def author(self) -> str:
        return self.revision.created_by.email if self.revision.created_by else "the console"

    @property
    def cause(self) -> Text | None:
        return describe_reason(self.revision.cause) if self.revision.cause else None

    @property
    def outcome(self) -> str:
        """failed, current, or "" for another one."""
        return "failed" if self.revision.cause else "current" if self.is_current else ""

    @property
    def outcome_title(self) -> str:
        at = f"{format_moment(self.revision.ready_at, self.now)} UTC" if self.revision.ready_at else ""
        if self.outcome == "failed":
            return "Could not start"
        if self.outcome == "current":
            return f"Current, first ready {at}" if at else "Current, not ready yet"
        return f"First ready {at}" if at else "Never ready"


def read_revisions(deployment: Deployment, now: datetime) -> list[RevisionRow]:
    """The latest MAX_REVISIONS, newest first. One query."""
    revisions = list(queries.revisions(deployment)[: MAX_REVISIONS + 1])
    current = deployment.revision
    return [
        RevisionRow(
            revision,
            _diff_if_readable(previous, revision, deployment.gpu_type_id) if previous else (),
            is_current=revision.pk == deployment.revision_id,
            is_same=current is not None and revision.spec_hash == current.spec_hash,
            now=now,
        )
        for revision, previous in list(zip_longest(revisions, revisions[1:]))[:MAX_REVISIONS]
    ]


def _diff_if_readable(before: Revision, after: Revision, gpu_type: str) -> tuple[DiffLine, ...]:
    try:
        return diff_revisions(before.spec, after.spec, gpu_type)
    except UnreadableSpec:
        return ()
