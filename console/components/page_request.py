"""The type of the request that a page of a signed-in person receives."""

from __future__ import annotations

from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from accounts.models import User
from console.access import Actor


class PageRequest(HttpRequest):
    """A request behind `login_required`; console.middleware sets `actor`."""

    user: User
    actor: Actor
    htmx: HtmxDetails
