"""Adapter that configures django-allauth: accounts are created by staff, so public sign-up is closed."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

HOUR_SECONDS = 3600


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    error_messages = DefaultAccountAdapter.error_messages | {
        "account_inactive": "This account is deactivated. Ask an operator to activate it.",
        "email_password_mismatch": "E-mail and password do not match. Correct them, or reset the password.",
        "enter_current_password": "This is not your current password.",
        "invalid_password_reset": "This link was used before or has expired. Request a new one.",
        "rate_limited": "Too many attempts. Wait a few minutes, then try again.",
        "too_many_login_attempts": "Too many failed sign-in attempts. Wait five minutes, then try again.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return reverse("profile")

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """As allauth does; the texts also name the console's address and how long a link is valid."""
        facts = {
            "console_url": self.request.build_absolute_uri("/"),
            "valid_hours": settings.PASSWORD_RESET_TIMEOUT // HOUR_SECONDS,
        }
        super().send_mail(template_prefix, email, {**context, **facts})
