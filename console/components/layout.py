"""The layout of every page: navigation, GPUs in use, who is signed in, theme. Read only when a template asks for it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from accounts.models import Organization
from console import access
from console.access import Actor
from console.components.gpu_inventory import GpuInventory
from console.components.theme import chosen_theme
from deployments.queries import status_counts

SECTIONS = ("deployments", "catalog", "usage", "keys", "profile")


def layout_context(request: HttpRequest) -> dict[str, Any]:
    """Context processor: `theme` as the person chose it ("" follows the system), `layout` of who is signed in (else
    None), `demo`: demo data exist."""
    user = getattr(request, "user", None)
    return {
        "theme": chosen_theme(request),
        "layout": Layout(request.actor, request.path) if user and user.is_authenticated else None,  # type: ignore[attr-defined]
        "demo": settings.ENVIRONMENT.demo,
    }


class Layout:
    """The layout of a page at `path` for `actor`."""

    def __init__(self, actor: Actor, path: str) -> None:
        self.actor, self.path = actor, path
        self.inventory = GpuInventory(actor)

    @cached_property
    def organizations(self) -> list[Organization]:
        """The actor's organizations; all of them for an operator."""
        return list(access.organizations(self.actor))

    @cached_property
    def status_counts(self) -> dict[str, int]:
        return status_counts(access.deployments(self.actor))

    @property
    def deployment_count(self) -> int:
        return sum(self.status_counts.values())

    @property
    def role(self) -> str:
        """Operator; Admin · Demo; 3 organizations; No organization."""
        if self.actor.is_operator:
            return "Operator"
        if len(self.organizations) == 1:
            organization = self.organizations[0]
            return f"{self.actor.roles[organization.pk].title()} · {organization.name}"
        return f"{len(self.organizations)} organizations" if self.organizations else "No organization"

    @property
    def section(self) -> str:
        """The entry of the navigation that the page belongs to: one of SECTIONS, or ""."""
        return next((name for name in SECTIONS if self.path.startswith(reverse(name))), "")
