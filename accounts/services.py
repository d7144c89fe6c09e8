"""Changes to organizations, memberships, API keys and sessions.

Each change of who may call what is published to the gateways on commit. If Redis is unavailable the change is kept,
the error is logged, and the next periodic publication (`accounts.tasks.publish_keys`) delivers it.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.db.models import Exists, OuterRef

from accounts import key_generation, key_publication
from accounts.models import ApiKey, Membership, Organization, User
from accounts.roles import Role, Scope
from gateway.contract import Limits, key_hash

PLAYGROUND_SECONDS = 300

RECORD_KEY_USE = """
UPDATE accounts_apikey SET last_used_at = used.at
FROM unnest(%s::uuid[], %s::timestamptz[]) AS used (key_id, at)
WHERE id = used.key_id AND (last_used_at IS NULL OR last_used_at < used.at)
"""


def create_organization(*, slug: str, name: str) -> Organization:
    return Organization.objects.get_or_create(slug=slug, defaults={"name": name})[0]


def set_limits(organization: Organization, limits: Limits) -> None:
    """Change the limits of the organization's calls across all deployments."""
    organization.limits = limits
    organization.save(update_fields=["limits"])
    transaction.on_commit(lambda: key_publication.publish_keys_in(organization), robust=True)


def set_role(*, organization: Organization, user: User, role: Role) -> Membership:
    """Add `user` as a member with `role`, or change the role of an existing member."""
    membership, _ = Membership.objects.update_or_create(
        organization=organization, user=user, defaults={"role": role.value}
    )
    transaction.on_commit(lambda: key_publication.publish_keys_of([user]), robust=True)
    return membership


@transaction.atomic
def remove_member(*, organization: Organization, user: User, now: datetime) -> None:
    """Remove the membership and revoke the user's keys in this organization."""
    Membership.objects.filter(organization=organization, user=user).delete()
    ApiKey.objects.filter(organization=organization, user=user, revoked_at=None).update(revoked_at=now)
    transaction.on_commit(lambda: key_publication.publish_keys_of([user]), robust=True)


def rename_user(user: User, name: str) -> None:
    """Change how `user` is shown to others. Keys and memberships do not depend on the name."""
    user.name = name
    user.save(update_fields=["name"])


@transaction.atomic
def apply_account_change(user: User, now: datetime) -> None:
    """Apply the consequences of a saved change of `user`: revoke the keys of an inactive user, publish the others.

    Revocation is final; reactivating the user does not restore the keys.
    """
    if not user.is_active:
        ApiKey.objects.filter(user=user, revoked_at=None).update(revoked_at=now)
    transaction.on_commit(lambda: key_publication.publish_keys_of([user]), robust=True)


@transaction.atomic
def create_key(
    *,
    organization: Organization,
    user: User,
    name: str,
    scopes: Sequence[str],
    expires_at: datetime | None,
    deployments: Sequence[uuid.UUID] | None,
    now: datetime,
    kind: str = ApiKey.Kind.USER,
) -> tuple[ApiKey, str]:
    """Create a key; returns it with its secret, which is not stored.

    `deployments` lists the ids of the deployments that the key may call; None means all. Raises ValueError for an
    unknown scope.
    """
    secret = key_generation.generate_secret(secrets.choice)
    key = ApiKey.objects.create(
        organization=organization,
        user=user,
        kind=kind,
        name=name,
        prefix=key_generation.get_display_prefix(secret),
        key_hash=key_hash(secret),
        scopes=[Scope(scope).value for scope in scopes],
        expires_at=expires_at,
        deployments=None if deployments is None else list(deployments),
        created_at=now,
    )
    transaction.on_commit(lambda: key_publication.publish_key(key), robust=True)
    return key, secret


def create_playground_key(*, organization: Organization, user: User, deployment_id: uuid.UUID, now: datetime) -> str:
    """Create a key with which the console calls one deployment as `user` for five minutes; returns its secret."""
    _, secret = create_key(
        organization=organization,
        user=user,
        name="Playground",
        scopes=[Scope.INFERENCE],
        expires_at=now + timedelta(seconds=PLAYGROUND_SECONDS),
        deployments=[deployment_id],
        now=now,
        kind=ApiKey.Kind.PLAYGROUND,
    )
    return secret


@transaction.atomic
def revoke_key(key: ApiKey, now: datetime) -> None:
    """Revoke a key; gateways refuse it within a second. Idempotent."""
    ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=now)
    key.refresh_from_db(fields=["revoked_at"])
    transaction.on_commit(lambda: key_publication.publish_key(key), robust=True)


def record_key_use(used_at_by_key_id: dict[uuid.UUID, datetime]) -> None:
    """Update `last_used_at` of the given keys; the value never decreases. Unknown ids are ignored."""
    with connection.cursor() as cursor:
        cursor.execute(RECORD_KEY_USE, [list(used_at_by_key_id), list(used_at_by_key_id.values())])


def delete_expired_playground_keys(now: datetime) -> int:
    """Delete playground keys one day after they expired; returns how many. Usage keeps their ids."""
    expired = ApiKey.objects.filter(kind=ApiKey.Kind.PLAYGROUND, expires_at__lt=now - timedelta(days=1))
    return expired.delete()[0]


def delete_ended_sessions(now: datetime) -> None:
    """Delete expired sessions, and the browsers and addresses recorded for sessions that are no more."""
    Session.objects.filter(expire_date__lt=now).delete()
    is_kept = Exists(Session.objects.filter(session_key=OuterRef("session_key")))
    UserSession.objects.filter(~is_kept).delete()
