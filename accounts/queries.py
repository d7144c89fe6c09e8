"""Read access to API keys."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias, TypedDict

from django.db.models import F, FilteredRelation, Q, QuerySet
from django_stubs_ext import WithAnnotations

from accounts.models import ApiKey
from accounts.roles import Right, Role, Scope, get_rights
from gateway.contract import is_well_formed_key, key_hash


class WithRole(TypedDict):
    """`role`: that of the key's user in the key's organization; None without a membership."""

    role: str | None


if TYPE_CHECKING:
    UsableKey: TypeAlias = WithAnnotations[ApiKey, WithRole]
else:
    UsableKey = ApiKey


def list_usable_keys(now: datetime) -> QuerySet[UsableKey]:
    """List keys that are neither revoked nor expired and whose user is active and an operator or still a member, with
    the user and the organization."""
    of_user = Q(organization__memberships__user=F("user"))
    keys = ApiKey.objects.annotate(
        membership=FilteredRelation("organization__memberships", condition=of_user), role=F("membership__role")
    )
    return keys.filter(
        Q(expires_at=None) | Q(expires_at__gt=now),
        Q(user__is_operator=True) | Q(role__isnull=False),
        revoked_at=None,
        user__is_active=True,
    ).select_related("user", "organization")


def get_usable_scopes(key: ApiKey, role: str | None) -> list[str]:
    """Return the key's scopes without `inference` if `role`, that of its user, does not include calling."""
    rights = get_rights(Role(role) if role else None, is_operator=key.user.is_operator)
    return [scope for scope in key.scopes if scope != Scope.INFERENCE or Right.CALL in rights]


def find_usable_key(secret: str, now: datetime) -> UsableKey | None:
    """Find the usable key with this secret. A secret with a wrong format or checksum causes no query."""
    if not is_well_formed_key(secret):
        return None
    return list_usable_keys(now).filter(key_hash=key_hash(secret)).first()


def list_api_keys(organization_ids: Iterable[uuid.UUID] | None = None) -> QuerySet[ApiKey]:
    """List keys created by users, newest first, of the given organizations (None: of all organizations)."""
    keys = ApiKey.objects.filter(kind=ApiKey.Kind.USER).select_related("user", "organization")
    if organization_ids is not None:
        keys = keys.filter(organization_id__in=list(organization_ids))
    return keys.order_by("-created_at", "-id")
