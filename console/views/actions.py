"""What people do with a deployment as a whole: retry, redeploy, and its end, which is asked about first."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from accounts.roles import Right
from console import access
from console.components.page_request import PageRequest
from console.live.fragments import deployment_context
from console.pages.overview import Overview
from deployments import services
from deployments.models import Deployment


def to_deploy(request: PageRequest, deployment_id: UUID) -> Deployment:
    """The deployment, if the person may change it: 404 when it is not theirs to see, 403 when not theirs to change."""
    found = access.deployment(request.actor, str(deployment_id))
    if not request.actor.may(Right.DEPLOY, found.organization_id):
        raise PermissionDenied("Your role may look at deployments, not change them. Ask an admin of the organization.")
    return found


@require_POST
@login_required
def retry(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    return _again(request, deployment_id, services.retry, "is tried again from now on; earlier failures count no more.")


@require_POST
@login_required
def redeploy(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    return _again(request, deployment_id, services.redeploy, "is deployed again with its present configuration.")


def _again(request: PageRequest, deployment_id: UUID, act: Callable[..., None], said: str) -> HttpResponse:
    found = to_deploy(request, deployment_id)
    try:
        act(found, by=request.user, now=timezone.now())  # noqa: TID251 - the edge: a request
    except services.NotNow as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"{found.name} {said}")
    return redirect("deployment", found.pk)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def terminate(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    found = to_deploy(request, deployment_id)
    if request.method == "POST":
        services.terminate(found, by=request.user, now=timezone.now())  # noqa: TID251 - the edge: a request
        return redirect("deployment", found.pk)
    if found.terminate_requested_at is not None:
        return redirect("deployment", found.pk)
    return _question(request, found, "terminate")


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def delete(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    found = to_deploy(request, deployment_id)
    if found.status not in services.DELETABLE:
        messages.error(request, str(services.NotEnded(found.status)))
        return redirect("deployment", found.pk)
    if request.method == "POST":
        return _delete(request, found)
    return _question(request, found, "delete")


def _delete(request: PageRequest, found: Deployment) -> HttpResponse:
    try:
        services.delete(found, by=request.user, now=timezone.now())  # noqa: TID251 - the edge: a request
    except services.NotEnded as error:  # it was put back to use in between
        messages.error(request, str(error))
        return redirect("deployment", found.pk)
    messages.success(request, f"{found.name} was deleted.")
    return redirect("deployments")


def _question(request: PageRequest, found: Deployment, verb: str) -> HttpResponse:
    """The dialog as a page of its own, for browsers without script."""
    context = deployment_context(request.actor, found, Overview(found, timezone.now()))  # noqa: TID251
    context |= {"verb": verb, "form_of": f"deployments/_{verb}.html"}
    return render(request, "deployments/question.html", context)
