"""The form of a new API key."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any, cast

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict

from accounts.models import Organization
from accounts.roles import Right, Scope
from console import access
from console.access import Actor

SCOPES = {
    Scope.INFERENCE.value: ("Inference", "call deployments through the gateway"),
    Scope.READ.value: ("Read", "read everything through the REST API"),
    Scope.MANAGE.value: ("Manage", "read and change everything through the REST API"),
}
EXPIRIES = {"7": "7 days", "30": "30 days", "90": "90 days", "365": "1 year", "": "Never"}
DEFAULT_EXPIRY = "90"


class ApiKeyForm(forms.Form):
    """`organization` may stay empty for a person of one organization; no `deployments` means all of them."""

    name = forms.CharField(max_length=120, error_messages={"required": "Enter a name that says what uses the key."})
    organization = forms.CharField(required=False)
    scopes = forms.MultipleChoiceField(
        choices=[(scope, title) for scope, (title, _) in SCOPES.items()],
        error_messages={"required": "Select at least one scope."},
    )
    expires = forms.ChoiceField(choices=list(EXPIRIES.items()), required=False)
    limited = forms.ChoiceField(choices=[("", "All deployments"), ("some", "Selected only")], required=False)
    deployments = forms.MultipleChoiceField(required=False)

    def __init__(self, actor: Actor, data: Any = None, **options: Any) -> None:
        super().__init__(data, **options)
        self.actor = actor
        self.organizations = [
            organization
            for organization in access.organizations(actor)
            if actor.may(Right.MANAGE_OWN_KEYS, organization.pk)
        ]
        columns = ("pk", "name", "organization_id", "organization__name")
        self.callable = list(access.deployments(actor).order_by("name").values_list(*columns, named=True))
        choices = [(str(deployment.pk), deployment.name) for deployment in self.callable]
        self.fields["deployments"].choices = choices  # type: ignore[attr-defined]

    @property
    def chosen(self) -> dict[str, list[str]]:
        """What is ticked now, by field, so that nothing is lost when the form comes back."""
        if not self.is_bound:
            return {"scopes": ["inference"], "expires": [DEFAULT_EXPIRY], "limited": [""], "deployments": []}
        data = cast(QueryDict, self.data)
        return {name: data.getlist(name) for name in ("scopes", "expires", "limited", "deployments")}

    def clean_organization(self) -> Organization:
        slug = self.cleaned_data["organization"]
        if not slug and len(self.organizations) == 1:
            return self.organizations[0]
        for organization in self.organizations:
            if organization.slug == slug:
                return organization
        raise ValidationError("Choose the organization that the key is for.")

    def clean(self) -> None:
        organization = self.cleaned_data.get("organization")
        if organization is None or not self._is_limited:
            return
        chosen = self.cleaned_data.get("deployments", [])
        if not chosen and "deployments" not in self.errors:
            self.add_error("deployments", "Tick at least one deployment, or let the key call all of them.")
        names = ", ".join(
            deployment.name
            for deployment in self.callable
            if str(deployment.pk) in chosen and deployment.organization_id != organization.pk
        )
        if names:
            self.add_error("deployments", f"A key of {organization} cannot call {names}; untick what is not its own.")

    @property
    def _is_limited(self) -> bool:
        return self.cleaned_data.get("limited") == "some"

    def expires_at(self, now: datetime) -> datetime | None:
        days = self.cleaned_data["expires"]
        return now + timedelta(days=int(days)) if days else None

    @property
    def deployment_ids(self) -> list[uuid.UUID] | None:
        """None: all, also those that are created later."""
        return [uuid.UUID(chosen) for chosen in self.cleaned_data["deployments"]] if self._is_limited else None
