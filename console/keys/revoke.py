"""Revoking an API key, after a confirmation."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from accounts import services
from console import access
from console.components.page_request import PageRequest


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def revoke_key(request: PageRequest, key_id: UUID) -> HttpResponse:
    """A key that is revoked already is left as it is."""
    key = get_object_or_404(access.api_keys(request.actor), pk=key_id)
    if request.method != "POST" and key.revoked_at is None:
        return render(request, "keys/revoke.html", {"key": key})
    if request.method == "POST":
        services.revoke_key(key, timezone.now())  # noqa: TID251 - the edge: a request
        messages.success(request, f"{key.name} was revoked. Requests with it are refused.")
    return redirect("keys")
