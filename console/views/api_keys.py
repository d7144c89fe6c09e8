"""API keys: list, make (the secret is shown once), revoke."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts import services
from accounts.models import ApiKey
from accounts.roles import Right
from console import access
from console.access import Actor
from console.forms.api_keys import EXPIRIES, SCOPES, ApiKeyForm
from console.pages.key_rows import key_rows
from console.requests import PageRequest


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
def api_keys(request: PageRequest) -> HttpResponse:
    """POST makes a key and answers with the page that shows its secret: nowhere stored, so never shown again."""
    now = timezone.now()  # noqa: TID251 - the edge: keys as of now
    if request.method != "POST":
        return _page(request, ApiKeyForm(request.actor), now)
    form = ApiKeyForm(request.actor, request.POST)
    if not form.is_valid():
        return _page(request, form, now)
    key, secret = services.create_key(
        organization=form.cleaned_data["organization"],
        user=request.user,
        name=form.cleaned_data["name"],
        scopes=form.cleaned_data["scopes"],
        expires_at=form.expires_at(now),
        deployments=form.deployment_ids,
        now=now,
    )
    return _page(request, ApiKeyForm(request.actor), now, made=key, secret=secret)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def revoke(request: PageRequest, key_id: UUID) -> HttpResponse:
    """Asks first; what is revoked already is left as it is."""
    key = get_object_or_404(access.api_keys(request.actor), pk=key_id)
    if request.method != "POST" and key.revoked_at is None:
        return render(request, "api_keys/revoke.html", {"key": key})
    if request.method == "POST":
        services.revoke_key(key, timezone.now())  # noqa: TID251 - the edge: a request
        messages.success(request, f"{key.name} is revoked: the gateway refuses it from now on.")
    return redirect("keys")


def _page(
    request: PageRequest,
    form: ApiKeyForm,
    now: datetime,
    *,
    made: ApiKey | None = None,
    secret: str = "",
) -> HttpResponse:
    context = {
        "form": form,
        "rows": key_rows(request.actor, now),
        "made": made,
        "secret": secret,
        "scopes": SCOPES,
        "expiries": EXPIRIES,
        "may_make": access.may_somewhere(request.actor, Right.MANAGE_OWN_KEYS),
        "whose": _whose(request.actor),
    }
    return render(request, "api_keys/api_keys.html", context)


def _whose(actor: Actor) -> str:
    """Whose keys the list holds, in words."""
    if actor.is_operator:
        return "keys of all organizations"
    manages = access.may_somewhere(actor, Right.MANAGE_ORGANIZATION_KEYS)
    return "keys of your organization" if manages else "your keys"
