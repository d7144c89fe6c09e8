"""Reads of accounts."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime

from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.models import ApiKey, Membership
from accounts.roles import Right, Role, Scope, rights_of
from gateway.contract import is_well_formed_key, key_hash


def usable_keys(now: datetime) -> QuerySet[ApiKey]:
    """Keys that may be used now: not revoked, not expired, their user active and (operators apart) still a member."""
    member = Membership.objects.filter(organization=OuterRef("organization"), user=OuterRef("user"))
    return (
        ApiKey.objects.filter(
            Q(expires_at=None) | Q(expires_at__gt=now),
            Q(user__is_operator=True) | Exists(member),
            revoked_at=None,
            user__is_active=True,
        )
        .select_related("user", "organization")
        .prefetch_related("user__memberships")
    )


def role_of(key: ApiKey) -> Role | None:
    """The role that the key's user has now in the key's organization."""
    roles = {membership.organization_id: membership.role for membership in key.user.memberships.all()}
    role = roles.get(key.organization_id)
    return Role(role) if role else None


def usable_scopes(key: ApiKey) -> list[str]:
    """The key's scopes, cut by its user's rights: who may not call has no `inference`."""
    rights = rights_of(role_of(key), is_operator=key.user.is_operator)
    return [scope for scope in key.scopes if scope != Scope.INFERENCE or Right.CALL in rights]


def key_of_secret(secret: str, now: datetime) -> ApiKey | None:
    """The usable key of `secret`; a secret without the right form or checksum costs no query."""
    if not is_well_formed_key(secret):
        return None
    return usable_keys(now).filter(key_hash=key_hash(secret)).first()


def api_keys(organization_ids: Iterable[uuid.UUID] | None = None) -> QuerySet[ApiKey]:
    """Keys that people made, newest first, of the given organizations (None: of all)."""
    listed = ApiKey.objects.filter(kind=ApiKey.Kind.USER).select_related("user", "organization")
    if organization_ids is not None:
        listed = listed.filter(organization_id__in=list(organization_ids))
    return listed.order_by("-created_at", "-id")
