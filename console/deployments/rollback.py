"""Rolling a deployment back to an earlier revision, after showing what that changes."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from console import access
from console.components.deployment_header import make_header
from console.components.page_request import PageRequest
from console.deployments.configuration_diff import diff_revisions
from deployments import queries, services
from deployments.models import Deployment, Revision
from deployments.states import LIVE


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def roll_back(request: PageRequest, deployment_id: UUID, number: int) -> HttpResponse:
    """POST rolls back if the deployment still has the version that the confirmation showed."""
    deployment = access.deployment_to_change(request.actor, str(deployment_id))
    revision = get_object_or_404(queries.revisions(deployment), number=number)
    if request.method != "POST":
        assert deployment.revision, "every deployment has its first revision from the start"
        diff = diff_revisions(deployment.revision.spec, revision.spec, deployment.gpu_type_id)
        context = {
            "deployment": deployment,
            "header": make_header(deployment),
            "revision": revision,
            "diff": diff,
            "effects": explain_effects(deployment),
        }
        return render(request, "deployments/rollback.html", context)
    return _save(request, deployment, revision)


def _save(request: PageRequest, deployment: Deployment, revision: Revision) -> HttpResponse:
    version, now = request.POST.get("version", ""), timezone.now()  # noqa: TID251 - the edge: a request
    expected = int(version) if version.isascii() and version.isdecimal() else None
    try:
        made = services.rollback(
            deployment, number=revision.number, expected_version=expected, by=request.user, now=now
        )
    except services.VersionConflict as error:
        messages.error(request, f"{error} Nothing was rolled back. Review the changes again.")
        return redirect("rollback", deployment.pk, revision.number)
    except services.NotNow as error:
        messages.error(request, str(error))
        return redirect("settings", deployment.pk)
    except services.UnknownRevision as error:
        raise Http404(str(error)) from None
    number = made.revision.number if made.revision else revision.number
    messages.success(request, f"Rolled back: revision {number} has the configuration of revision {revision.number}.")
    return redirect("deployment", deployment.pk)


def explain_effects(deployment: Deployment) -> str:
    """What a rollback does to the replicas that run now."""
    count = deployment.replicas.filter(state__in=LIVE).count()
    if not count:
        return "No replicas are running. The next start uses this revision."
    replaced = f"The {count} running replicas are replaced one at a time"
    return (
        f"This creates a new revision. {'The running replica is replaced' if count == 1 else replaced}: if a GPU is "
        "free, the new replica is ready before an old one drains. Otherwise requests are queued until it is ready."
    )
