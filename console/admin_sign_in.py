"""Sign-in to Django admin: everybody signs in on the same page, under the same limits."""

from __future__ import annotations

from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme


def sign_in_to_admin(request: HttpRequest) -> HttpResponse:
    """In place of the login page of Django admin, which limits nothing. Answers 403 to people who are not staff."""
    wanted = request.GET.get(REDIRECT_FIELD_NAME, "")
    is_safe = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    address = wanted if is_safe else reverse("admin:index")
    if not request.user.is_authenticated:
        return redirect_to_login(address)
    if not request.user.is_staff:
        raise PermissionDenied("Django admin is for support staff. Sign in as a member of staff, or ask an operator.")
    return redirect(address)
