"""Read access to API keys."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime

from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.models import ApiKey, Membership
from accounts.roles import Right, Role, Scope, get_rights
from gateway.contract import is_well_formed_key, key_hash


def list_usable_keys(now: datetime) -> QuerySet[ApiKey]:
    """List keys that are neither revoked nor expired and whose user is active and an operator or still a member."""
    membership = Membership.objects.filter(organization=OuterRef("organization"), user=OuterRef("user"))
    return (
        ApiKey.objects.filter(
            Q(expires_at=None) | Q(expires_at__gt=now),
            Q(user__is_operator=True) | Exists(membership),
            revoked_at=None,
            user__is_active=True,
        )
        .select_related("user", "organization")
        .prefetch_related("user__memberships")
    )


def get_role(key: ApiKey) -> Role | None:
    """Return the current role of the key's user in the key's organization; None without a membership."""
    roles = {membership.organization_id: membership.role for membership in key.user.memberships.all()}
    role = roles.get(key.organization_id)
    return Role(role) if role else None


def get_usable_scopes(key: ApiKey) -> list[str]:
    """Return the key's scopes without `inference` if the current role of its user does not include calling."""
    rights = get_rights(get_role(key), is_operator=key.user.is_operator)
    return [scope for scope in key.scopes if scope != Scope.INFERENCE or Right.CALL in rights]


def find_usable_key(secret: str, now: datetime) -> ApiKey | None:
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
