"""The browsers in which a person is signed in: a list for the profile, and signing out of one or of all others.

django-allauth keeps a row for each session; `console.middleware.SessionActivity` keeps its last use current.
"""

from __future__ import annotations

from dataclasses import dataclass

from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST

from console.components.page_request import PageRequest
from console.profile.browser_names import name_browser


@dataclass(frozen=True)
class SessionRow:
    session: UserSession
    browser: str
    is_current: bool


def list_sessions(request: PageRequest) -> list[SessionRow]:
    """This browser first, then those used last. Sessions that have ended are forgotten."""
    rows = [
        SessionRow(session, name_browser(session.user_agent), _is_current(session, request))
        for session in UserSession.objects.purge_and_list(request.user)
    ]
    return sorted(rows, key=lambda row: (row.is_current, row.session.last_seen_at), reverse=True)


@require_POST
@login_required
def sign_out_of_session(request: PageRequest, session_id: int) -> HttpResponse:
    session = get_object_or_404(UserSession, pk=session_id, user=request.user)
    session.end()
    messages.success(request, f"Signed out of {name_browser(session.user_agent)}.")
    return redirect("profile")


@require_POST
@login_required
def sign_out_of_other_sessions(request: PageRequest) -> HttpResponse:
    for session in UserSession.objects.filter(user=request.user):
        if not _is_current(session, request):
            session.end()
    messages.success(request, "Signed out of all other browsers.")
    return redirect("profile")


def _is_current(session: UserSession, request: PageRequest) -> bool:
    return bool(session.session_key == request.session.session_key)
