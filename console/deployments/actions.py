"""Actions on a deployment: retry and redeploy; terminate, delete and declare a replica gone after a confirmation."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from console import access
from console.components.deployment_header import make_header
from console.components.page_request import PageRequest
from console.deployments.page_context import page_context, read_state
from console.deployments.replica_rows import ReplicaRow
from deployments import services
from deployments.events import short
from deployments.models import Deployment


@require_POST
@login_required
def retry(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    deployment = access.deployment_to_change(request.actor, str(deployment_id))
    try:
        services.retry(deployment, by=request.user, now=timezone.now())  # noqa: TID251 - the edge: a request
    except services.NotNow as error:
        messages.error(request, str(error))
    else:
        message = f"Retrying {deployment.name}. Earlier failures no longer count."
        messages.success(request, message)
    return redirect("deployment", deployment.pk)


@require_POST
@login_required
def redeploy(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    deployment = access.deployment_to_change(request.actor, str(deployment_id))
    try:
        services.redeploy(deployment, by=request.user, now=timezone.now())  # noqa: TID251 - the edge: a request
    except services.NotNow as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"Redeploying {deployment.name} with its current configuration.")
    return redirect("deployment", deployment.pk)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def terminate(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    deployment = access.deployment_to_change(request.actor, str(deployment_id))
    if request.method == "POST":
        services.terminate(deployment, by=request.user, now=timezone.now())  # noqa: TID251 - the edge: a request
        return redirect("deployment", deployment.pk)
    if deployment.terminate_requested_at is not None:
        return redirect("deployment", deployment.pk)
    return _confirm(request, deployment, "terminate")


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def delete(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    deployment = access.deployment_to_change(request.actor, str(deployment_id))
    try:
        if request.method != "POST":
            services.check_deletable(deployment)
            return _confirm(request, deployment, "delete")
        services.delete(deployment, by=request.user, now=timezone.now())  # noqa: TID251 - the edge: a request
    except services.NotEnded as error:
        messages.error(request, str(error))
        return redirect("deployment", deployment.pk)
    messages.success(request, f"{deployment.name} was deleted.")
    return redirect("deployments")


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def declare_gone(request: PageRequest, deployment_id: UUID, replica_id: UUID) -> HttpResponse:
    deployment = access.deployment(request.actor, str(deployment_id))
    replica = access.replica_to_declare_gone(request.actor, deployment, str(replica_id))
    if request.method != "POST":
        now = timezone.now()  # noqa: TID251 - the edge: a page as of now
        context = {"deployment": deployment, "header": make_header(deployment), "replica": replica}
        context |= {"row": ReplicaRow(replica, None, now), "name": short(replica)}
        return render(request, "deployments/declare_gone.html", context)
    try:
        services.declare_replica_gone(replica, by=request.user, now=timezone.now())  # noqa: TID251 - the edge: a request
    except services.NotNow as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"Replica {short(replica)} was declared gone. Its GPUs are released in a moment.")
    return redirect("deployment", deployment.pk)


def _confirm(request: PageRequest, deployment: Deployment, action: str) -> HttpResponse:
    """The dialog as a page of its own, for browsers without scripts."""
    state = read_state(deployment, timezone.now())  # noqa: TID251 - the edge: a page as of now
    context = {**page_context(request.actor, state), "action": action, "form": f"deployments/_{action}_form.html"}
    return render(request, "deployments/confirm.html", context)
