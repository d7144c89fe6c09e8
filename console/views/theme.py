"""Light, dark or as the system: a cookie, so that the server writes the theme and nothing flashes."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

YEAR_SECONDS = 365 * 24 * 3600


@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    chosen = request.POST.get("theme", "")
    if chosen not in {"light", "dark", "system"}:
        return HttpResponseBadRequest("Send theme=light, dark or system.", content_type="text/plain")
    response = redirect(_way_back(request))
    if chosen == "system":
        response.delete_cookie("theme", samesite="Lax")
    else:
        secure = settings.SESSION_COOKIE_SECURE
        response.set_cookie("theme", chosen, max_age=YEAR_SECONDS, samesite="Lax", secure=secure, httponly=True)
    return response


def _way_back(request: HttpRequest) -> str:
    """`next` if it stays on this console, else the start."""
    wanted = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return wanted if safe else "/"
