"""A deployment's page, and everything that happened to it."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from console import access
from console.components.page_request import PageRequest
from console.live.fragments import deployment_context, events_context
from console.pages.overview import Overview
from console.pages.timeline import Wanted


@require_safe
@login_required
def deployment(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    found = access.deployment(request.actor, str(deployment_id))
    overview = Overview(found, timezone.now())  # noqa: TID251 - the edge: a page as of now
    context = deployment_context(request.actor, found, overview)
    return render(request, "deployments/detail.html", context)


@require_safe
@login_required
def events(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    """`?kind=` chooses a group, `?before=` an older page."""
    found = access.deployment(request.actor, str(deployment_id))
    overview = Overview(found, timezone.now())  # noqa: TID251 - the edge: a page as of now
    context = deployment_context(request.actor, found, overview)
    context |= events_context(overview, Wanted.read(request.GET))
    return render(request, "deployments/events.html", context)
