"""The events of a deployment: all of them or one kind, page by page."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from console import access
from console.access import Actor
from console.components.page_request import PageRequest
from console.deployments.page_context import page_context, read_state
from console.deployments.timeline import GROUPS, EventFilterForm, EventFilters, read_event_page
from deployments.models import Deployment

FRAGMENTS = ("header", "events")


@require_safe
@login_required
def show_events(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    """`?kind=` chooses a group, `?before=` an older page."""
    deployment = access.deployment(request.actor, str(deployment_id))
    now = timezone.now()  # noqa: TID251 - the edge: a page as of now
    filters = EventFilters(**EventFilterForm(request.GET).filters)
    return render(request, "deployments/events.html", read_context(request.actor, deployment, now, filters))


def read_context(actor: Actor, deployment: Deployment, now: datetime, filters: EventFilters) -> dict[str, Any]:
    events = read_event_page(deployment, filters, GROUPS[filters.kind][1], now)
    return {**page_context(actor, read_state(deployment, now)), "events": events}
