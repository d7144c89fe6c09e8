"""The theme: light, dark, or as the system. A cookie, so that the server renders it and nothing flashes."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

THEMES = ("light", "dark")
YEAR_SECONDS = 365 * 24 * 3600


def chosen_theme(request: HttpRequest) -> str:
    """One of THEMES, or "" for the system's."""
    theme = request.COOKIES.get("theme", "")
    return theme if theme in THEMES else ""


@require_POST
def set_theme(request: HttpRequest) -> HttpResponse:
    """Redirects to `next` if that stays on this console, else to the start page."""
    theme, target = request.POST.get("theme", ""), request.POST.get("next", "")
    if theme not in {*THEMES, "system"}:
        return HttpResponseBadRequest("Send theme=light, dark or system.", content_type="text/plain")
    is_safe = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
    response = redirect(target if is_safe else "/")
    if theme == "system":
        response.delete_cookie("theme", samesite="Lax")
    else:
        secure = settings.SESSION_COOKIE_SECURE
        response.set_cookie("theme", theme, max_age=YEAR_SECONDS, samesite="Lax", secure=secure, httponly=True)
    return response
