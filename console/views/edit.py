"""Editing a deployment: the same form, which says before it saves what saving does. Nothing is saved that was not
shown: the page carries a seal of what it showed, and what differs from it is shown first."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core import signing
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from console.components.page_request import PageRequest
from console.forms.deployment import DeploymentForm
from console.forms.rebasing import rebased
from console.pages.deploy_form import asked_of, context
from console.pages.edited import Body, Conflict, Preview, between
from console.views.actions import to_deploy
from console.views.new import rows_changed
from deployments import queries, services
from deployments.bodies import body_of
from deployments.models import Deployment
from deployments.queries import spec_of, spec_options
from deployments.states import DeploymentStatus

SALT = "deployment-edit"


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def edit(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    found = to_deploy(request, deployment_id)
    if found.status == DeploymentStatus.TERMINATING:
        messages.error(request, f"{found.name} is terminating. Edit it once it is TERMINATED, then redeploy it.")
        return redirect("deployment", found.pk)
    if request.method != "POST":
        return _page(request, found, DeploymentForm.of(_body(found)))
    form, conflict = _typed(request, found)
    if rows_changed(request, form) or conflict:
        return _page(request, found, form, conflict=conflict)
    preview = _preview(found, form)
    if preview.spec is None or request.POST.get("seal") != preview.seal:
        return _page(request, found, form, preview)
    return _save(request, found, form, preview)


@require_POST
@login_required
def preview(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    """What saving the form as it is now would do; writes nothing."""
    found = to_deploy(request, deployment_id)
    form, conflict = _typed(request, found)
    shown = {"preview": _preview(found, form), "form": form, "deployment": found, "conflict": conflict}
    shown["asked"] = asked_of(request.actor, form, found)
    return render(request, "deployments/_edit_answers.html", shown)


def _save(request: PageRequest, found: Deployment, form: DeploymentForm, preview: Preview) -> HttpResponse:
    assert preview.spec
    version, effect, now = found.version, preview.restart, timezone.now()  # noqa: TID251 - the edge: a request
    try:
        made = services.edit(found, spec=preview.spec, expected_version=version, by=request.user, now=now)
    except services.VersionConflict:  # somebody saved within this very request
        return edit(request, found.pk)
    except services.NotNow as error:
        messages.error(request, str(error))
        return _page(request, found, form, preview)
    if not made.changes:
        messages.info(request, f"Nothing differs from what {found.name} has already, so nothing was changed.")
    elif made.revision is None:
        messages.success(request, f"{found.name} was changed; it took effect at once.")
    else:
        messages.success(request, f"{found.name} was changed. {effect}.")
    return redirect("deployment", found.pk)


def _typed(request: PageRequest, found: Deployment) -> tuple[DeploymentForm, Conflict | None]:
    """What was sent; when the deployment is no longer at the version that the page was opened with, on top of what
    it is now."""
    form, now = DeploymentForm.typed(request.POST, _body(found)), _body(found)
    if request.POST.get("version") == str(found.version):
        return form, None
    by, at = queries.last_change(found)
    base = _base(request.POST.get("base", ""), found)
    if base is None:
        return form, Conflict(by, at, None, [])
    form, both = rebased(DeploymentForm.typed(request.POST, base), base, now)
    return form, Conflict(by, at, between(base, now), both)


def _base(signed: str, found: Deployment) -> Body | None:
    """The configuration that the page was opened with, as the page carries it."""
    try:
        base: dict[str, Any] = signing.loads(signed, salt=f"{SALT}-{found.pk}")
    except signing.BadSignature:
        return None
    return base


def _body(found: Deployment) -> dict[str, Any]:
    return body_of(spec_of(found))


def _preview(found: Deployment, form: DeploymentForm) -> Preview:
    return Preview(found, form.spec(spec_options(), spec_of(found)))


def _page(
    request: PageRequest,
    found: Deployment,
    form: DeploymentForm,
    reviewed: Preview | None = None,
    conflict: Conflict | None = None,
) -> HttpResponse:
    """`reviewed`: what was asked to be saved, shown on top; without it the form is on its way, and no field is
    judged yet."""
    body = _body(found)
    shown = context(form, asked_of(request.actor, form, found)) | {
        "deployment": found,
        "preview": reviewed or _preview(found, DeploymentForm(form.values, form.adapters, body)),
        "is_review": reviewed is not None,
        "conflict": conflict,
        "base": signing.dumps(body, salt=f"{SALT}-{found.pk}", compress=True),
    }
    return render(request, "deployments/edit.html", shown)
