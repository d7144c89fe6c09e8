"""The demo data: an operator, the organization `demo` with a user of each role, and four API keys.

Secrets cannot be read back from the database. `ensure_demo_data` therefore takes the known credentials (the content of
demo.json), verifies them, replaces those that do not work, and returns all of them:
    {"operator": {"email", "password"}, "member": {"email", "password", "organization", "role"},
     "people": {role: {"email", "password"}}, "api_keys": {"inference", "read", "manage", "operator"}}
`member` is the user that demonstrations sign in as; its role is admin.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from allauth.account.models import EmailAddress
from django.db import transaction
from django.db.models import ProtectedError

from accounts.key_publication import withdraw_keys
from accounts.models import ApiKey, Organization, User
from accounts.queries import find_usable_key
from accounts.roles import Role, Scope
from accounts.services import create_key, create_organization, set_role

ORGANIZATION, PLATFORM, DOMAIN = "demo", "platform", "demo.example"
MEMBER_ROLE = Role.ADMIN
KEYS = {
    "inference": [Scope.INFERENCE],
    "read": [Scope.READ],
    "manage": [Scope.MANAGE],
    "operator": [Scope.MANAGE, Scope.INFERENCE],
}


class DemoDataInUse(Exception):
    """The demo organization cannot be removed yet; the message says why."""


@transaction.atomic
def ensure_demo_data(known: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Create what is missing; returns all credentials."""
    organization = create_organization(slug=ORGANIZATION, name="Demo")
    platform = create_organization(slug=PLATFORM, name="Platform")
    operator, operator_password = _ensure_user("operator", _get_password(known, "operator"))
    User.objects.filter(pk=operator.pk).update(is_operator=True, is_staff=True, is_superuser=True)
    set_role(organization=platform, user=operator, role=Role.OWNER)
    people: dict[str, Any] = {}
    users: dict[str, User] = {}
    for role in Role:
        users[role], password = _ensure_user(role.value, _get_password(known.get("people", {}), role.value))
        set_role(organization=organization, user=users[role], role=role)
        people[role.value] = {"email": users[role].email, "password": password}
    operator.refresh_from_db()
    owners = {name: (organization, users[MEMBER_ROLE]) for name in KEYS} | {"operator": (platform, operator)}
    return {
        "operator": {"email": operator.email, "password": operator_password},
        "member": people[MEMBER_ROLE] | {"organization": ORGANIZATION, "role": MEMBER_ROLE.value},
        "people": people,
        "api_keys": {
            name: _ensure_key(known.get("api_keys", {}).get(name, ""), name, *owner, now)
            for name, owner in owners.items()
        },
    }


@transaction.atomic
def remove_demo_data(now: datetime) -> dict[str, Any]:
    """Delete the demo users, their keys and the organization; returns the new content of demo.json.

    Raises DemoDataInUse if the organization has deployments.
    """
    people = User.objects.filter(email__in=[_build_email(name) for name in ("operator", *Role)])
    keys = ApiKey.objects.filter(user__in=people)
    hashes = list(keys.values_list("key_hash", flat=True))
    keys.delete()
    try:
        Organization.objects.filter(slug=ORGANIZATION).delete()
    except ProtectedError:
        raise DemoDataInUse("The demo organization has deployments, or the history of some, and has to stay.") from None
    people.delete()
    transaction.on_commit(lambda: withdraw_keys(hashes))
    return {"removed": True, "removed_at": now.isoformat()}


def _build_email(name: str) -> str:
    return f"{name}@{DOMAIN}"


def _get_password(people: Mapping[str, Any], name: str) -> str:
    known: str = people.get(name, {}).get("password", "")
    return known


def _ensure_user(name: str, known_password: str) -> tuple[User, str]:
    """Create the user if needed; returns it with a valid password: the known one, else a new one."""
    user = User.objects.filter(email=_build_email(name)).first() or User.objects.create_user(
        _build_email(name), known_password or None, name=f"Demo {name.title()}"
    )
    password = known_password
    if not password or not user.check_password(password):
        password = secrets.token_urlsafe(12)
        user.set_password(password)
        user.save(update_fields=["password"])
    EmailAddress.objects.update_or_create(user=user, email=user.email, defaults={"verified": True, "primary": True})
    return user, password


def _ensure_key(secret: str, name: str, organization: Organization, user: User, now: datetime) -> str:
    """Return `secret` if it is a usable key, else create a key and return its secret."""
    if secret and find_usable_key(secret, now):
        return secret
    scopes = [scope.value for scope in KEYS[name]]
    _, new_secret = create_key(
        organization=organization, user=user, name=f"Demo: {name}", scopes=scopes, expires_at=None, deployments=None,
        now=now,
    )  # fmt: skip
    return new_secret
