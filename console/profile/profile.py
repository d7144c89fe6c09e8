"""The profile: a person's own name, e-mail address, organizations, password and sessions."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts import services
from console.components.page_request import PageRequest
from console.profile.forms import ProfileForm
from console.profile.sessions import list_sessions


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def show_profile(request: PageRequest) -> HttpResponse:
    """POST changes the name. The e-mail address, which is the login, is changed by an operator in Django admin."""
    form = ProfileForm(request.POST if request.method == "POST" else None, initial={"name": request.user.name})
    if form.is_bound and form.is_valid():
        services.rename_user(request.user, form.cleaned_data["name"])
        messages.success(request, "Profile saved.")
        return redirect("profile")
    memberships = request.user.memberships.select_related("organization").order_by("organization__name")
    context = {"form": form, "memberships": memberships, "sessions": list_sessions(request)}
    return render(request, "profile/profile.html", context, status=422 if form.errors else 200)
