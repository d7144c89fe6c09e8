"""The API keys: a table of them, and the form that creates one. Its secret is shown once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts import services
from accounts.models import ApiKey
from accounts.roles import Right
from console import access
from console.access import Actor
from console.components.formats import format_moment
from console.components.page_request import PageRequest
from console.keys.forms import EXPIRIES, SCOPES, ApiKeyForm
from deployments.models import Deployment

SECRET_COOKIE, SECRET_COOKIE_SECONDS = f"{settings.SESSION_COOKIE_NAME}_made_key", 60


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
def list_keys(request: PageRequest) -> HttpResponse:
    """POST creates a key and redirects here, where its secret is shown once: reloading neither creates another key
    nor shows the secret again."""
    now = timezone.now()  # noqa: TID251 - the edge: keys as of now
    if request.method != "POST":
        created, secret = _read_secret_cookie(request)
        response = _render_page(request, ApiKeyForm(request.actor), now, created=created, secret=secret)
        if request.method == "GET" and SECRET_COOKIE in request.COOKIES:
            response.delete_cookie(SECRET_COOKIE, path=reverse("keys"), samesite="Strict")
        return response
    form = ApiKeyForm(request.actor, request.POST)
    if not form.is_valid():
        return _render_page(request, form, now)
    key, secret = services.create_key(
        organization=form.cleaned_data["organization"],
        user=request.user,
        name=form.cleaned_data["name"],
        scopes=form.cleaned_data["scopes"],
        expires_at=form.expires_at(now),
        deployments=form.deployment_ids,
        now=now,
    )
    response = redirect("keys")
    _set_secret_cookie(response, request, key, secret)
    return response


def _set_secret_cookie(response: HttpResponse, request: PageRequest, key: ApiKey, secret: str) -> None:
    """The server stores the secret nowhere: it travels to the next page in a cookie that is signed for this person,
    unreadable for scripts, sent to this page only, and removed by it or after a minute."""
    response.set_signed_cookie(
        SECRET_COOKIE,
        f"{key.pk} {secret}",
        salt=_salt(request),
        max_age=SECRET_COOKIE_SECONDS,
        path=reverse("keys"),
        secure=request.is_secure(),
        httponly=True,
        samesite="Strict",
    )


def _read_secret_cookie(request: PageRequest) -> tuple[ApiKey | None, str]:
    """The key that was just created and its secret; (None, "") when there is none for this person."""
    if request.method != "GET":
        return None, ""
    value = request.get_signed_cookie(SECRET_COOKIE, "", salt=_salt(request), max_age=SECRET_COOKIE_SECONDS)
    key_id, _, secret = (value or "").partition(" ")
    key = access.api_keys(request.actor).filter(pk=key_id).first() if secret else None
    return key, secret if key else ""


def _salt(request: PageRequest) -> str:
    return f"{SECRET_COOKIE}:{request.user.pk}"


def _render_page(
    request: PageRequest, form: ApiKeyForm, now: datetime, *, created: ApiKey | None = None, secret: str = ""
) -> HttpResponse:
    if request.actor.is_operator:
        owner = "keys of all organizations"
    elif access.may_somewhere(request.actor, Right.MANAGE_ORGANIZATION_KEYS):
        owner = "keys of your organization"
    else:
        owner = "your keys"
    context = {
        "form": form,
        "rows": read_key_rows(request.actor, now),
        "created": created,
        "secret": secret,
        "scopes": SCOPES,
        "expiries": EXPIRIES,
        "may_create": access.may_somewhere(request.actor, Right.MANAGE_OWN_KEYS),
        "owner": owner,
    }
    return render(request, "keys/list.html", context)


@dataclass(frozen=True)
class KeyRow:
    """One key. `reach` is what it may call; `expiry` why it ended or when it will."""

    key: ApiKey
    reach: str
    expiry: str
    has_ended: bool

    @property
    def scopes(self) -> str:
        return ", ".join(self.key.scopes)


def read_key_rows(actor: Actor, now: datetime) -> list[KeyRow]:
    """Two queries; usable keys first, then newest first."""
    keys = list(access.api_keys(actor))
    ids = {deployment_id for key in keys for deployment_id in key.deployments or []}
    names = dict(Deployment.objects.filter(access.visible(actor), pk__in=ids).values_list("pk", "name"))
    return sorted((_key_row(key, names, now) for key in keys), key=lambda row: row.has_ended)


def _key_row(key: ApiKey, names: Mapping[UUID, str], now: datetime) -> KeyRow:
    has_expired = key.expires_at is not None and key.expires_at <= now
    reach, expiry = "all deployments", "never expires"
    if key.deployments is not None:
        reach = ", ".join(sorted(names[id] for id in key.deployments if id in names)) or "only deleted deployments"
    if key.revoked_at:
        expiry = f"revoked {format_moment(key.revoked_at, now)} UTC"
    elif key.expires_at:
        expiry = f"{'expired' if has_expired else 'expires'} {format_moment(key.expires_at, now)} UTC"
    return KeyRow(key, reach, expiry, has_ended=has_expired or key.revoked_at is not None)
