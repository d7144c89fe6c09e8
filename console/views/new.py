"""A new deployment, empty or as a clone: the form, and the two pieces of it that answer while it is filled in."""

from __future__ import annotations

import re
from itertools import count
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from accounts.models import Organization
from accounts.roles import Right
from console import access
from console.components.page_request import PageRequest
from console.forms.deployment import DeploymentForm
from console.pages.deploy_form import asked_of, context
from console.views.actions import to_deploy
from deployments import services, specs
from deployments.bodies import body_of
from deployments.models import Deployment, Endpoint
from deployments.queries import spec_of, spec_options


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def new(request: PageRequest) -> HttpResponse:
    organizations = _organizations(request)
    if request.method != "POST":
        form = DeploymentForm.usual(spec_options(), request.GET.get("model", ""), _usual_endpoint())
        form.values["organization"] = _usual_organization(request, organizations)
        return _page(request, form, organizations)
    form = DeploymentForm.typed(request.POST)
    if rows_changed(request, form):
        return _page(request, form, organizations)
    created = _create(request, form, organizations)
    if created is None:
        return _page(request, form, organizations)
    return redirect("deployment", created.pk)


@require_safe
@login_required
def clone(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    """The form of a new deployment, filled with another one's configuration under a free name."""
    found, organizations = to_deploy(request, deployment_id), _organizations(request)
    form = DeploymentForm.of(body_of(spec_of(found)))
    form.values |= {"name": _free_name(found), "organization": found.organization.slug}
    return _page(request, form, organizations, cloned=found)


@require_safe
@login_required
def name(request: PageRequest) -> HttpResponse:
    """Whether the name typed so far is free."""
    typed = request.GET.get("name", "").strip()[:200]
    organization = _chosen(request.GET.get("organization", ""), _organizations(request))
    return render(request, "deployments/_name.html", {"state": _name_state(typed, organization), "name": typed})


@require_safe
@login_required
def asked(request: PageRequest) -> HttpResponse:
    """What is typed so far asks of the cluster, and what its range means."""
    _organizations(request)
    asked = asked_of(request.actor, DeploymentForm.typed(request.GET))
    return render(request, "deployments/_new_answers.html", {"asked": asked})


def rows_changed(request: PageRequest, form: DeploymentForm) -> bool:
    """Whether the button pressed was one that adds or removes a row: without script that is a page of its own."""
    if "add_adapter" in request.POST:
        form.with_row()
    return "add_adapter" in request.POST or "remove_adapter" in request.POST


def _organizations(request: PageRequest) -> list[Organization]:
    """Where the person may deploy; 403 when nowhere."""
    found = [one for one in access.organizations(request.actor) if request.actor.may(Right.DEPLOY, one.pk)]
    if not found:
        raise PermissionDenied("Your role may look at deployments, not make them. Ask an admin of your organization.")
    return found


def _usual_organization(request: PageRequest, organizations: list[Organization]) -> str:
    """The person's own one; an operator's deployments belong to the platform unless said otherwise."""
    own = [one.slug for one in organizations if one.pk in request.actor.roles]
    return next(iter([*own, *(one.slug for one in organizations if one.slug == "platform")]), organizations[0].slug)


def _chosen(slug: str, organizations: list[Organization]) -> Organization | None:
    if not slug and len(organizations) == 1:
        return organizations[0]
    return next((one for one in organizations if one.slug == slug), None)


def _usual_endpoint() -> str:
    names = list(Endpoint.objects.order_by("name").values_list("name", flat=True))
    return "default" if "default" in names or not names else names[0]


def _create(request: PageRequest, form: DeploymentForm, organizations: list[Organization]) -> Deployment | None:
    """The deployment, or None with the reasons in the form."""
    organization = _chosen(form.values["organization"], organizations)
    if organization is None:
        form.refuse("organization", "Choose the organization that the deployment belongs to.")
    spec = form.spec(spec_options())
    if organization is None or spec is None:
        return None
    now = timezone.now()  # noqa: TID251 - the edge: a request
    try:
        created, is_new = services.create_deployment(
            organization=organization, spec=spec, body=form.body, by=request.user, now=now
        )
    except services.NameTaken as taken:
        form.take([taken.error])
        return None
    if not is_new:
        messages.info(request, f"{created.name} existed with the same configuration; nothing was changed.")
    return created


def _name_state(typed: str, organization: Organization | None) -> str:
    if not typed:
        return ""
    if not re.fullmatch(specs.NAME_PATTERN, typed):
        return "invalid"
    if organization is None:
        return ""
    taken = Deployment.objects.filter(organization=organization, name=typed, deleted_at=None).exists()
    return "taken" if taken else "free"


def _free_name(found: Deployment) -> str:
    """The name with -2, -3, … behind it: the first that nothing else has."""
    taken = Deployment.objects.filter(organization_id=found.organization_id, deleted_at=None)
    names = set(taken.values_list("name", flat=True))
    tries = (f"{found.name[: 62 - len(str(number))].rstrip('-')}-{number}" for number in count(2))
    return next(one for one in tries if one not in names)


def _page(
    request: PageRequest, form: DeploymentForm, organizations: list[Organization], cloned: Deployment | None = None
) -> HttpResponse:
    shown = context(form, asked_of(request.actor, form))
    return render(request, "deployments/new.html", {**shown, "organizations": organizations, "cloned": cloned})
