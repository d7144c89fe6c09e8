"""Roles in an organization, the rights of each role, and the scopes of API keys. Pure.

Each role includes the rights of the previous one: viewer (read), member (call models, manage own keys), admin (deploy,
edit, terminate, manage all keys of the organization), owner (manage members). Operators have all rights in all
organizations; only they declare replicas gone. An API key grants the intersection of its user's rights and its scopes;
`manage` includes `read`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Role(StrEnum):
    VIEWER = "viewer"
    MEMBER = "member"
    ADMIN = "admin"
    OWNER = "owner"


class Right(StrEnum):
    READ = "read"
    CALL = "call"
    MANAGE_OWN_KEYS = "manage_own_keys"
    DEPLOY = "deploy"
    MANAGE_ORGANIZATION_KEYS = "manage_organization_keys"
    MANAGE_MEMBERS = "manage_members"
    DECLARE_REPLICAS_GONE = "declare_replicas_gone"


class Scope(StrEnum):
    INFERENCE = "inference"
    READ = "read"
    MANAGE = "manage"


_VIEWER = frozenset({Right.READ})
_MEMBER = _VIEWER | {Right.CALL, Right.MANAGE_OWN_KEYS}
_ADMIN = _MEMBER | {Right.DEPLOY, Right.MANAGE_ORGANIZATION_KEYS}
_OWNER = _ADMIN | {Right.MANAGE_MEMBERS}

RIGHTS: dict[Role, frozenset[Right]] = {
    Role.VIEWER: _VIEWER,
    Role.MEMBER: _MEMBER,
    Role.ADMIN: _ADMIN,
    Role.OWNER: _OWNER,
}


def get_rights(role: Role | None, *, is_operator: bool) -> frozenset[Right]:
    """Return the rights that `role` grants in an organization; None stands for a user who is not a member."""
    if is_operator:
        return frozenset(Right)
    return RIGHTS[role] if role else frozenset()


def is_scope_granted(scopes: Iterable[str], needed: Scope) -> bool:
    """Whether a key with `scopes` has the scope `needed`; `manage` includes `read`."""
    granted = set(scopes)
    return needed in granted or (needed is Scope.READ and Scope.MANAGE in granted)
