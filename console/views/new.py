"""A new deployment: the form, and the two pieces of it that answer while it is filled in."""

from __future__ import annotations

import re
from typing import Any

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
from console.forms.deployment import DeploymentForm
from console.pages.asked import Asked
from console.pages.inventory import Inventory
from console.requests import PageRequest
from deployments import services, specs
from deployments.engines.registry import ENGINES
from deployments.models import CatalogModel, Deployment, Endpoint
from deployments.queries import spec_options


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def new(request: PageRequest) -> HttpResponse:
    organizations = _organizations(request)
    if request.method != "POST":
        form = DeploymentForm.usual(spec_options(), request.GET.get("model", ""), _usual_endpoint())
        form.values["organization"] = _usual_organization(request, organizations)
        return _page(request, form, organizations)
    form = DeploymentForm.typed(request.POST)
    created = _create(request, form, organizations)
    if created is None:
        return _page(request, form, organizations)
    return redirect("deployment", created.pk)


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
    """What is typed so far asks of the cluster."""
    _organizations(request)
    return render(request, "deployments/_asked.html", {"asked": _asked(request, DeploymentForm.typed(request.GET))})


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
    try:
        spec = specs.parse(form.body, spec_options())
        if organization is None:
            return None
        now = timezone.now()  # noqa: TID251 - the edge: a request
        created, is_new = services.create_deployment(
            organization=organization, spec=spec, body=form.body, by=request.user, now=now
        )
    except specs.InvalidSpec as invalid:
        form.take(invalid.errors)
        return None
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


def _asked(request: PageRequest, form: DeploymentForm) -> Asked:
    model = CatalogModel.objects.filter(pk=form.values["model"]).first()
    endpoint = Endpoint.objects.filter(name=form.values["endpoint"]).select_related("cluster").first()
    return Asked(form.values, model, endpoint, Inventory(request.actor))


def _page(request: PageRequest, form: DeploymentForm, organizations: list[Organization]) -> HttpResponse:
    context: dict[str, Any] = {
        "form": form,
        "asked": _asked(request, form),
        "organizations": organizations,
        "models": CatalogModel.objects.all(),
        "endpoints": Endpoint.objects.select_related("cluster").order_by("name"),
        "engines": [{"name": key, "title": one.title, "state": one.availability} for key, one in ENGINES.items()],
        "faults": specs.FAULTS,
    }
    return render(request, "deployments/new.html", context)
