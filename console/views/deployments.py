"""The deployments list."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from console.pages.filters import Filters
from console.pages.frame import Frame
from console.pages.listing import DeploymentList
from console.requests import PageRequest


@require_safe
@login_required
def deployments(request: PageRequest) -> HttpResponse:
    """With htmx only what a filter changes: tabs, summary and rows."""
    now = timezone.now()  # noqa: TID251 - the edge: a page as of now
    frame = Frame(request.actor, request.path)
    listing = DeploymentList(request.actor, Filters.read(request.GET), now, frame)
    return render(request, "deployments/list.html", {"listing": listing, "frame": frame})
