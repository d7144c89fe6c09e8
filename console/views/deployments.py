"""The deployments list."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from console.components.layout import Layout
from console.components.page_request import PageRequest
from console.pages.filters import Filters
from console.pages.listing import DeploymentList


@require_safe
@login_required
def deployments(request: PageRequest) -> HttpResponse:
    """With htmx only what a filter changes: tabs, summary and rows."""
    now = timezone.now()  # noqa: TID251 - the edge: a page as of now
    layout = Layout(request.actor, request.path)
    listing = DeploymentList(request.actor, Filters.read(request.GET), now, layout)
    return render(request, "deployments/list.html", {"listing": listing, "layout": layout})
