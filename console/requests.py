"""What a view of a signed-in person gets."""

from __future__ import annotations

from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from accounts.models import User
from console.access import Actor


class PageRequest(HttpRequest):
    """A request behind `login_required`: the middleware has put the actor there."""

    user: User
    actor: Actor
    htmx: HtmxDetails
