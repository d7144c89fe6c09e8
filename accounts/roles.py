"""Roles and rights, as one table (design.md §10). Pure.

Viewers read; members also call, have their own keys and the playground; admins also deploy, edit, terminate and
manage their organization's keys; owners also members and bills. Operators may do all of it everywhere.
A key may do what its user's role allows, cut by its scopes; `manage` includes `read`.
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


def rights_of(role: Role | None, *, is_operator: bool) -> frozenset[Right]:
    """The rights of a person with `role` in an organization (None: not a member)."""
    if is_operator:
        return frozenset(Right)
    return RIGHTS[role] if role else frozenset()


def scopes_allow(scopes: Iterable[str], needed: Scope) -> bool:
    """Whether a key with `scopes` reaches what needs `needed`; `manage` includes `read`."""
    held = set(scopes)
    return needed in held or (needed is Scope.READ and Scope.MANAGE in held)
