"""What stands around every page: places, GPUs in use, who is signed in. Read only when a template asks for it."""

from __future__ import annotations

from functools import cached_property

from django.urls import reverse

from accounts.models import Organization
from console import access
from console.access import Actor
from console.pages.inventory import Inventory
from deployments.queries import status_counts


class Frame:
    """The frame of a page of `actor` at `path`."""

    def __init__(self, actor: Actor, path: str) -> None:
        self.actor, self.path = actor, path
        self.inventory = Inventory(actor)

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
            one = self.organizations[0]
            return f"{self.actor.roles[one.pk].title()} · {one.name}"
        return f"{len(self.organizations)} organizations" if self.organizations else "No organization"

    @property
    def is_deployments(self) -> bool:
        return self.path.startswith(reverse("deployments"))

    @property
    def is_catalog(self) -> bool:
        return self.path.startswith(reverse("catalog"))

    @property
    def is_usage(self) -> bool:
        return self.path.startswith(reverse("usage"))

    @property
    def is_api_keys(self) -> bool:
        return self.path.startswith(reverse("keys"))
