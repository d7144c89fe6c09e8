"""A deployment's settings: its revisions, the change log, every value in force; and the way back to a revision."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from console import access
from console.components.page_request import PageRequest
from console.live.fragments import deployment_context, settings_context
from console.pages.overview import Overview
from console.pages.revisions import between, rollback_effects
from console.pages.timeline import Wanted
from console.views.actions import to_deploy
from deployments import queries, services
from deployments.models import Deployment, Revision


@require_safe
@login_required
def settings(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    """`?before=` shows an older page of the change log."""
    found = access.deployment(request.actor, str(deployment_id))
    overview = Overview(found, timezone.now())  # noqa: TID251 - the edge: a page as of now
    context = deployment_context(request.actor, found, overview)
    context |= settings_context(overview, Wanted.read(request.GET))
    return render(request, "deployments/settings.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def rollback(request: PageRequest, deployment_id: UUID, number: int) -> HttpResponse:
    """Asks first, showing what changes; the answer holds for the version that was shown."""
    found = to_deploy(request, deployment_id)
    revision = get_object_or_404(queries.revisions(found), number=number)
    if request.method == "POST":
        return _rollback(request, found, revision)
    overview = Overview(found, timezone.now())  # noqa: TID251 - the edge: a page as of now
    context = deployment_context(request.actor, found, overview) | {
        "revision": revision,
        "changes": between(overview.revision, revision, found.gpu_type_id),
        "effects": rollback_effects(overview),
    }
    return render(request, "deployments/rollback.html", context)


def _rollback(request: PageRequest, found: Deployment, revision: Revision) -> HttpResponse:
    shown, now = request.POST.get("version", ""), timezone.now()  # noqa: TID251 - the edge: a request
    expected = int(shown) if shown.isascii() and shown.isdecimal() else None
    try:
        made = services.rollback(found, number=revision.number, expected_version=expected, by=request.user, now=now)
    except services.VersionConflict as error:
        messages.error(request, f"{error} Nothing was rolled back: look at the difference as it is now.")
        return redirect("rollback", found.pk, revision.number)
    except services.NotNow as error:
        messages.error(request, str(error))
        return redirect("settings", found.pk)
    except services.UnknownRevision as error:
        raise Http404(str(error)) from None
    number = made.revision.number if made.revision else revision.number
    messages.success(request, f"Revision {number} brings back the configuration of revision {revision.number}.")
    return redirect("deployment", found.pk)
