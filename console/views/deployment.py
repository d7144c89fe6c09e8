"""A deployment's page, and its end: terminate and delete, each with a question first."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from accounts.roles import Right
from console import access
from console.forms.playground import PlaygroundForm
from console.live.fragments import deployment_context
from console.pages import configuration
from console.pages.overview import Overview
from console.requests import PageRequest
from deployments import services
from deployments.models import Deployment


@require_safe
@login_required
def deployment(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    found = access.deployment(request.actor, str(deployment_id))
    overview = Overview(found, timezone.now())  # noqa: TID251 - the edge: a page as of now
    context = deployment_context(request.actor, found, overview)
    context |= {"form": PlaygroundForm(), "configuration": configuration.lines(overview)}
    return render(request, "deployments/detail.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def terminate(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    found = _to_deploy(request, deployment_id)
    if request.method == "POST":
        services.terminate(found, by=request.user, now=timezone.now())  # noqa: TID251 - the edge: a request
        return redirect("deployment", found.pk)
    return _question(request, found, "terminate") if found.terminate_requested_at is None else _back(found)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def delete(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    found = _to_deploy(request, deployment_id)
    if found.status not in services.DELETABLE:
        messages.error(request, str(services.NotEnded(found.status)))
        return _back(found)
    if request.method == "POST":
        return _delete(request, found)
    return _question(request, found, "delete")


def _delete(request: PageRequest, found: Deployment) -> HttpResponse:
    try:
        services.delete(found, by=request.user, now=timezone.now())  # noqa: TID251 - the edge: a request
    except services.NotEnded as error:  # it was put back to use in between
        messages.error(request, str(error))
        return _back(found)
    messages.success(request, f"{found.name} was deleted.")
    return redirect("deployments")


def _to_deploy(request: PageRequest, deployment_id: UUID) -> Deployment:
    """The deployment, if the person may change it: 404 when it is not theirs to see, 403 when not theirs to change."""
    found = access.deployment(request.actor, str(deployment_id))
    if not request.actor.may(Right.DEPLOY, found.organization_id):
        raise PermissionDenied("Your role may look at deployments, not change them. Ask an admin of the organization.")
    return found


def _question(request: PageRequest, found: Deployment, verb: str) -> HttpResponse:
    """The dialog as a page of its own, for browsers without script."""
    context = deployment_context(request.actor, found, Overview(found, timezone.now()))  # noqa: TID251
    context |= {"verb": verb, "form_of": f"deployments/_{verb}.html"}
    return render(request, "deployments/question.html", context)


def _back(found: Deployment) -> HttpResponse:
    return redirect("deployment", found.pk)
