"""The page that sends a link to choose a new password, or says that this console sends no e-mail."""

from __future__ import annotations

import logging
import smtplib

from allauth.account import views
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

log = logging.getLogger(__name__)
TEMPLATE = "account/password_reset_unavailable.html"


@require_http_methods(["GET", "HEAD", "POST"])
def reset_password(request: HttpRequest) -> HttpResponseBase:
    if not settings.SENDS_EMAIL:
        return render(request, TEMPLATE, {"is_configured": False})
    try:
        response: HttpResponseBase = views.password_reset(request)
    except (smtplib.SMTPException, OSError) as error:
        log.error("The mail server of EMAIL_URL did not take an e-mail: %s", error)
        return render(request, TEMPLATE, {"is_configured": True}, status=503)
    return response
