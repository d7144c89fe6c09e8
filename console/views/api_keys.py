"""API keys: list, make (the secret is shown once), revoke."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts import services
from accounts.models import ApiKey
from accounts.roles import Right
from console import access
from console.access import Actor
from console.components.page_request import PageRequest
from console.forms.api_keys import EXPIRIES, SCOPES, ApiKeyForm
from console.pages.key_rows import key_rows

HANDOVER, HANDOVER_SECONDS = f"{settings.SESSION_COOKIE_NAME}_made_key", 60


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
def api_keys(request: PageRequest) -> HttpResponse:
    """POST makes a key and leads back here, where its secret is shown once: reloading neither makes another key nor
    shows it again."""
    now = timezone.now()  # noqa: TID251 - the edge: keys as of now
    if request.method == "POST":
        return _made(request, now)
    key, secret = _handed_over(request)
    answer = _page(request, ApiKeyForm(request.actor), now, made=key, secret=secret)
    if request.method == "GET" and HANDOVER in request.COOKIES:
        answer.delete_cookie(HANDOVER, path=reverse("keys"), samesite="Strict")
    return answer


def _made(request: PageRequest, now: datetime) -> HttpResponse:
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
    answer = redirect("keys")
    _hand_over(answer, request, key, secret)
    return answer


def _hand_over(answer: HttpResponse, request: PageRequest, key: ApiKey, secret: str) -> None:
    """The secret travels to the next page in a cookie of the person's own browser: the server stores it nowhere. It is
    signed for this person, unreadable for scripts, sent to this page only, and gone with it or after a minute."""
    answer.set_signed_cookie(
        HANDOVER,
        f"{key.pk} {secret}",
        salt=_salt(request),
        max_age=HANDOVER_SECONDS,
        path=reverse("keys"),
        secure=request.is_secure(),
        httponly=True,
        samesite="Strict",
    )


def _handed_over(request: PageRequest) -> tuple[ApiKey | None, str]:
    """The key that was made just now and its secret; (None, "") when there is none for this person."""
    if request.method != "GET":
        return None, ""
    value = request.get_signed_cookie(HANDOVER, "", salt=_salt(request), max_age=HANDOVER_SECONDS)
    key_id, _, secret = (value or "").partition(" ")
    key = access.api_keys(request.actor).filter(pk=key_id).first() if secret else None
    return key, secret if key else ""


def _salt(request: PageRequest) -> str:
    return f"{HANDOVER}:{request.user.pk}"


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
