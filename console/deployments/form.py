"""The form of a deployment: to create one, empty or as a clone, and to edit one.

An edit saves nothing that was not shown before: the page carries a seal of the changes that it shows, and a form whose
changes differ from its seal is shown for review first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import Organization
from accounts.roles import Right
from console import access
from console.access import Actor
from console.components.page_request import PageRequest
from console.deployments.capacity_panel import CapacityPanel, read_capacity, read_free_gpus
from console.deployments.configuration_diff import diff_bodies
from console.deployments.edit_merge import merge_onto_current
from console.deployments.edit_preview import Conflict, EditPreview, read_preview
from console.deployments.forms import DeploymentForm, empty_form, filled_form, typed_form
from deployments import queries, services
from deployments.config.configuration import MAX_REPLICAS, NAME_PATTERN
from deployments.config.replica_range_presets import PRESETS, Preset
from deployments.engines.registry import ENGINES
from deployments.models import CatalogModel, Deployment, Endpoint
from deployments.queries import spec_of, spec_options
from deployments.states import DeploymentStatus

SALT = "deployment-edit"


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def create(request: PageRequest) -> HttpResponse:
    organizations, options = _find_organizations(request.actor), spec_options()
    if request.method != "POST":
        endpoints = list(Endpoint.objects.order_by("name").values_list("name", flat=True))
        endpoint = "default" if "default" in endpoints or not endpoints else endpoints[0]
        organization_slug = _choose_initial(request.actor, organizations)
        free = read_free_gpus(request.actor, endpoint)
        form = empty_form(options, request.GET.get("model", ""), endpoint, organization_slug, free)
        return _render_new(request, form, organizations)
    form = typed_form(request.POST, options, is_operator=request.actor.is_operator)
    if changed := _press_row_button(request, form):
        return _render_new(request, changed, organizations)
    organization = _find_chosen(form.texts["organization"], organizations)
    if not form.is_valid() or organization is None or form.spec is None:
        if organization is None:
            form.add_error("organization", "Choose the organization that the deployment belongs to.")
        return _render_new(request, form, organizations)
    now = timezone.now()  # noqa: TID251 - the edge: a request
    try:
        created, is_new = services.create_deployment(
            organization=organization, spec=form.spec, body=form.body, by=request.user, now=now
        )
    except services.NameTaken as taken:
        form.add_configuration_errors([taken.error])
        return _render_new(request, form, organizations)
    if not is_new:
        messages.info(request, f"{created.name} already exists with this configuration. Nothing was changed.")
    return redirect("deployment", created.pk)


@require_safe
@login_required
def clone(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    """The form of a new deployment with another one's configuration. Its name gets -2, -3, …: the first that is free
    in the organization."""
    original = access.deployment_to_change(request.actor, str(deployment_id))
    organizations = _find_organizations(request.actor)
    taken = Deployment.objects.filter(organization_id=original.organization_id, deleted_at=None)
    names = set(taken.values_list("name", flat=True))
    candidates = (f"{original.name[: 62 - len(str(number))].rstrip('-')}-{number}" for number in count(2))
    name = next(candidate for candidate in candidates if candidate not in names)
    form = filled_form(spec_of(original), spec_options(), name=name, organization=original.organization.slug)
    return _render_new(request, form, organizations, original)


@require_safe
@login_required
def check_name(request: PageRequest) -> HttpResponse:
    """Whether the name typed so far is free: `state` is free, taken, invalid or "" (cannot be said yet)."""
    name = request.GET.get("name", "").strip()[:200]
    organization = _find_chosen(request.GET.get("organization", ""), _find_organizations(request.actor))
    state = ""
    if name and not re.fullmatch(NAME_PATTERN, name):
        state = "invalid"
    elif name and organization:
        same = Deployment.objects.filter(organization=organization, name=name, deleted_at=None)
        state = "taken" if same.exists() else "free"
    return render(request, "deployments/_name_check.html", {"state": state, "name": name})


@require_safe
@login_required
def show_capacity(request: PageRequest) -> HttpResponse:
    """The capacity that the form as typed so far needs."""
    _find_organizations(request.actor)
    capacity = read_capacity(request.actor, typed_form(request.GET, spec_options()).texts)
    return render(request, "deployments/_capacity_response.html", {"capacity": capacity})


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def edit(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    deployment = access.deployment_to_change(request.actor, str(deployment_id))
    if deployment.status == DeploymentStatus.TERMINATING:
        messages.error(
            request, f"{deployment.name} is terminating. Wait until it is terminated, then edit and redeploy it."
        )
        return redirect("deployment", deployment.pk)
    if request.method != "POST":
        current = spec_of(deployment)
        return _render_edit(request, deployment, filled_form(current, spec_options(), current))
    form, conflict = _read_edit(request, deployment)
    if (changed := _press_row_button(request, form)) or conflict:
        return _render_edit(request, deployment, changed or form.copy(is_typed=False), conflict=conflict)
    preview = _preview(deployment, form)
    if preview.spec is None or request.POST.get("seal") != preview.seal:
        return _render_edit(request, deployment, form, preview)
    version, now = deployment.version, timezone.now()  # noqa: TID251 - the edge: a request
    try:
        saved = services.edit(deployment, spec=preview.spec, expected_version=version, by=request.user, now=now)
    except services.VersionConflict:  # somebody saved within this very request
        return edit(request, deployment.pk)
    except services.NotNow as error:
        messages.error(request, str(error))
        return _render_edit(request, deployment, form, preview)
    if not saved.changes:
        messages.info(request, f"No changes: {deployment.name} already has this configuration.")
    elif saved.revision is None:
        messages.success(request, f"{deployment.name} was changed. The changes are in effect. {preview.sleep_effect}")
    else:
        messages.success(request, f"{deployment.name} was changed. {preview.restart_effect}. {preview.sleep_effect}")
    return redirect("deployment", deployment.pk)


@require_POST
@login_required
def preview_edit(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    """What saving the form as it is now would do; writes nothing."""
    deployment = access.deployment_to_change(request.actor, str(deployment_id))
    form, conflict = _read_edit(request, deployment)
    context = {
        "preview": _preview(deployment, form),
        "form": form,
        "deployment": deployment,
        "conflict": conflict,
        "capacity": read_capacity(request.actor, form.texts, deployment),
    }
    return render(request, "deployments/_edit_response.html", context)


def _find_organizations(actor: Actor) -> list[Organization]:
    """Where the person may deploy; 403 when nowhere."""
    found = [organization for organization in access.organizations(actor) if actor.may(Right.DEPLOY, organization.pk)]
    if not found:
        raise PermissionDenied("Your role can view deployments but not create them. Ask an admin of your organization.")
    return found


def _choose_initial(actor: Actor, organizations: list[Organization]) -> str:
    """The slug of the person's own organization; an operator's deployments belong to the platform by default."""
    own = [organization.slug for organization in organizations if organization.pk in actor.roles]
    platform = [organization.slug for organization in organizations if organization.slug == "platform"]
    return [*own, *platform, organizations[0].slug][0]


def _find_chosen(slug: str, organizations: list[Organization]) -> Organization | None:
    if not slug and len(organizations) == 1:
        return organizations[0]
    return next((organization for organization in organizations if organization.slug == slug), None)


def _press_row_button(request: PageRequest, form: DeploymentForm) -> DeploymentForm | None:
    """The form to show when the button that was pressed adds or removes a row, which without scripts loads the page
    again; None when it was another one."""
    if "add_adapter" in request.POST:
        return form.add_row()
    return form.copy(is_typed=False) if "remove_adapter" in request.POST else None


def _read_edit(request: PageRequest, deployment: Deployment) -> tuple[DeploymentForm, Conflict | None]:
    """The form as sent. When the deployment no longer has the version that the page was opened with, what was typed is
    put onto the present configuration."""
    current = spec_of(deployment)
    form = typed_form(request.POST, spec_options(), current, is_operator=request.actor.is_operator)
    if request.POST.get("version") == str(deployment.version):
        return form, None
    actor, at = queries.last_change(deployment)
    try:
        base: dict[str, Any] = signing.loads(request.POST.get("base", ""), salt=f"{SALT}-{deployment.pk}")
    except signing.BadSignature:
        return form, Conflict(actor, at, None, [])
    form, changed_by_both = merge_onto_current(form, base)
    return form, Conflict(actor, at, diff_bodies(base, current.to_json()), changed_by_both)


def _preview(deployment: Deployment, form: DeploymentForm) -> EditPreview:
    now = timezone.now()  # noqa: TID251 - the edge: a page as of now
    return read_preview(deployment, form.spec if form.is_valid() else None, now)


@dataclass(frozen=True)
class PresetCard:
    """A preset with its range for the maximum in the form."""

    preset: Preset
    low: int
    high: int
    is_chosen: bool

    @property
    def range(self) -> str:
        return f"{self.high} fixed" if self.preset.min_replicas is None else f"{self.low} to {self.high}"


def read_choices(form: DeploymentForm, capacity: CapacityPanel) -> dict[str, Any]:
    """What the fields of the form offer."""
    return {
        "form": form,
        "capacity": capacity,
        "models": CatalogModel.objects.all(),
        "endpoints": Endpoint.objects.select_related("cluster").order_by("name"),
        "engines": [
            {"name": name, "title": engine.title, "state": engine.availability} for name, engine in ENGINES.items()
        ],
        "presets": [
            PresetCard(preset, *preset.range_for(capacity.range[1]), is_chosen=preset.id == form.texts["preset"])
            for preset in PRESETS
        ],
        "floor_seconds": form.options.delay_floor_seconds,
        "max_replicas": MAX_REPLICAS,
    }


def _render_new(
    request: PageRequest, form: DeploymentForm, organizations: list[Organization], cloned: Deployment | None = None
) -> HttpResponse:
    fields = read_choices(form, read_capacity(request.actor, form.texts))
    return render(request, "deployments/new.html", {**fields, "organizations": organizations, "cloned": cloned})


def _render_edit(
    request: PageRequest,
    deployment: Deployment,
    form: DeploymentForm,
    reviewed: EditPreview | None = None,
    conflict: Conflict | None = None,
) -> HttpResponse:
    """`reviewed`: the changes that were asked to be saved, shown for review. Without it the form is not complete yet,
    and its fields show no errors."""
    assert form.current, "an edit starts from a configuration"
    context = {
        **read_choices(form, read_capacity(request.actor, form.texts, deployment)),
        "deployment": deployment,
        "preview": reviewed or _preview(deployment, form.copy(is_typed=True)),
        "is_review": reviewed is not None,
        "conflict": conflict,
        "base": signing.dumps(form.current.to_json(), salt=f"{SALT}-{deployment.pk}", compress=True),
    }
    return render(request, "deployments/edit.html", context)
